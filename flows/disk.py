"""How much of the disk a stage takes: what it leaves in the store, and checkpoints while it runs.

Shares of text were measured on documentation (1.9 MB of HTML, 0.28 MB of text kept), where Parquet packs
text to two fifths.
"""

from collections.abc import Mapping

from pipeline.corpus.pages import PACKED
from pipeline.store import Work

PAGE_BYTES = 4_000
"""Beside a page itself: its lines in the crawl log and in the index, and its URLs in the frontier."""
TEXT_PACKED = 0.4
"""Parquet's bytes for a byte of text."""
TOKEN_BYTES, LARGE_TOKEN_BYTES = 2.3, 4.3
"""With the index; the second where ids do not fit into two bytes."""
SMALL_IDS = 1 << 16
WEIGHT_BYTES, STATE_BYTES, MUON_STATE_BYTES = 4, 8, 4
CHECKPOINTS = 3
"""Two that are kept and one that is being written."""
MODELS = 2
"""In the store, and as MLflow logs it."""


def disk_of(stage: str, work: Work, pieces: float, settings: Mapping[str, str]) -> float:
    """Bytes that the stage takes at most; `pieces` has the vocabulary, `settings` the stage's optimizer."""
    match stage:
        case "site":
            return work.get("bytes", 0)
        case "crawl" | "ingest":
            return work["bytes"] / PACKED + PAGE_BYTES * work["pages"]
        case "sources" | "start":
            return work.get("bytes", 0)
        case "extract":
            return _kept(work) * TEXT_PACKED
        case "clean":
            return work["kept-bytes"] * TEXT_PACKED
        case "hold-out":
            return work["bytes"] * TEXT_PACKED
        case "tokens":
            return work["tokens"] * (TOKEN_BYTES if pieces <= SMALL_IDS else LARGE_TOKEN_BYTES)
        case "pretrain" | "finetune" if "parameters" in work:
            state = MUON_STATE_BYTES if settings.get("optimizer") == "muon" else STATE_BYTES
            checkpoint = WEIGHT_BYTES + state
            return work["parameters"] * (CHECKPOINTS * checkpoint + MODELS * WEIGHT_BYTES)
    return 0.0


def _kept(work: Work) -> float:
    """Text of all pages, dropped ones included: about as much again as what cleaning keeps."""
    from pipeline.corpus.clean import KEPT_BYTES

    return 2 * sum(work.get(f"bytes.{kind}", 0) * share for kind, share in KEPT_BYTES.items())
