"""The clean stage's Ray tasks: judge each document, compare them all, divide them into kept and dropped."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.compute import ShardOutput
from pipeline.corpus.clean import CleanConfig
from pipeline.corpus.duplicates import band_rows, find_duplicates, normalized_hash
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.language import identify
from pipeline.corpus.quality import first_fault, rules_of
from pipeline.corpus.tables import BANDS, DROPPED, KEPT, local_path, read_rows, write_rows
from pipeline.store import Attempt, ShardRecord

KEYS = pa.schema([("id", pa.string()), ("url", pa.string()), ("text_hash", pa.int64())])
DUPLICATES = pa.schema([("id", pa.string()), ("reason", pa.string()), ("keeper", pa.string())])
SAMPLE_CHARACTERS = 200
SURE_OF_ANOTHER = 0.5
"""A page is said to be in another language if that is likelier than not; a few words often are in none."""


@dataclass(frozen=True)
class Judging:
    """One raw shard to be judged, document by document."""

    raw: RawDocuments
    shard: str
    config: CleanConfig


@dataclass(frozen=True)
class Comparing:
    """All that was judged good, to be compared with each other."""

    attempt: Attempt
    judged: tuple[ShardRecord, ...]


@dataclass(frozen=True)
class Dividing:
    """One shard to be written as it will stay."""

    raw: RawDocuments
    attempt: Attempt
    judged: ShardRecord
    compared: ShardRecord


def judge(part: Judging, output: ShardOutput) -> dict[str, int]:
    """Write the shard's candidates with their keys and bands, and what language and quality drop."""
    good: dict[str, dict[str, Any]] = {}
    dropped: list[dict[str, Any]] = []
    bands: list[dict[str, Any]] = []
    for row in read_rows([part.raw.path(f"raw/{part.shard}.parquet")]):
        language, score = identify(row["text"])
        fault = _fault(row, language, score, part.config)
        if fault is not None:
            dropped.append(drop(row, **fault))
        elif row["id"] in good:
            dropped.append(drop(row, "duplicate-exact", detail=row["id"]))
        else:
            good[row["id"]] = {**row, "language": language, "language_score": score}
            bands += band_rows(
                row["id"], row["text"], part.config.duplicate_bands, part.config.duplicate_rows
            )
    keys = [{**row, "text_hash": normalized_hash(row["text"])} for row in good.values()]
    name = f"{part.shard}.parquet"
    write_rows(output.path(f"good/{name}"), good.values(), KEPT)
    write_rows(output.path(f"dropped/{name}"), dropped, DROPPED)
    write_rows(output.path(f"keys/{name}"), keys, KEYS)
    write_rows(output.path(f"bands/{name}"), bands, BANDS)
    return {"good": len(good), "dropped": len(dropped)}


def compare(work: Comparing, output: ShardOutput) -> dict[str, int]:
    """Write which documents are duplicates, of whom, and in which way."""
    with tempfile.TemporaryDirectory() as scratch:
        found = find_duplicates(
            _outputs(work.attempt, work.judged, "keys/"),
            _outputs(work.attempt, work.judged, "bands/"),
            Path(scratch),
        )
    rows = [
        {"id": identity, "reason": reason, "keeper": keeper} for identity, (reason, keeper) in found.items()
    ]
    write_rows(output.path("duplicates.parquet"), rows, DUPLICATES)
    return {"duplicates": len(found)}


def divide(part: Dividing, output: ShardOutput) -> dict[str, int]:
    """Write the shard's kept documents and dropped pages, those that extraction dropped included."""
    name = f"{part.judged.identity}.parquet"
    found = {
        row["id"]: row for row in read_rows(_outputs(part.attempt, [part.compared], "duplicates.parquet"))
    }
    good = read_rows(_outputs(part.attempt, [part.judged], "good/"))
    kept = [row for row in good if row["id"] not in found]
    dropped = read_rows(
        [part.raw.path(f"dropped/{name}"), *_outputs(part.attempt, [part.judged], "dropped/")]
    )
    dropped += [
        drop(row, found[row["id"]]["reason"], detail=found[row["id"]]["keeper"])
        for row in good
        if row["id"] in found
    ]
    write_rows(output.path(f"kept/{name}"), kept, KEPT)
    write_rows(output.path(f"dropped/{name}"), dropped, DROPPED)
    return account(kept, dropped)


def account(kept: Sequence[dict[str, Any]], dropped: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The counts of a shard: pages = kept + the sum of dropped.<reason>."""
    return {
        "pages": len(kept) + len(dropped),
        "kept": len(kept),
        "kept-bytes": sum(len(row["text"].encode()) for row in kept),
        **Counter(f"kept.{row['language']}" for row in kept),
        **Counter(f"dropped.{row['reason']}" for row in dropped),
    }


def drop(
    row: dict[str, Any],
    reason: str,
    value: float | None = None,
    threshold: float | None = None,
    detail: str = "",
) -> dict[str, Any]:
    """The row of a page that is not kept."""
    return {
        **{column: row[column] for column in ("id", "source", "url", "title", "text")},
        "reason": reason,
        "value": value,
        "threshold": threshold,
        "detail": detail,
    }


def why_nothing_is_left(attempt: Attempt, divided: Sequence[ShardRecord]) -> str:
    """The end of the message: which reason dropped most pages, with one of them as a sample."""
    rows = read_rows(_outputs(attempt, divided, "dropped/"))
    if not rows:
        return "there was no page to begin with; crawl other seeds"
    (reason, count), *_ = Counter(row["reason"] for row in rows).most_common(1)
    sample = min((row for row in rows if row["reason"] == reason), key=lambda row: str(row["id"]))
    measured = "" if sample["value"] is None else f", measured {sample['value']:g}"
    if sample["threshold"] is not None:
        measured += f" where the limit is {sample['threshold']:g}"
    text = " ".join(sample["text"].split())[:SAMPLE_CHARACTERS]
    return (
        f"of {len(rows)} pages {count} were dropped as {reason!r}. "
        f"For example {sample['url']}: {sample['detail'] or reason}{measured}"
        + (f", text {text!r}" if text else "")
        + ". Set extract.kind or clean.languages to what the pages are, or crawl other seeds"
    )


def _fault(row: dict[str, Any], language: str, score: float, config: CleanConfig) -> dict[str, Any] | None:
    """Reason, value, threshold and detail of what the document fails by, or None."""
    if language not in config.languages:
        sure = score >= SURE_OF_ANOTHER
        return {"reason": "language" if sure else "language-unsure", "value": score, "detail": language}
    rules = rules_of(language)
    if score < rules.language_score:
        return {
            "reason": "language-unsure",
            "value": score,
            "threshold": rules.language_score,
            "detail": language,
        }
    fault = first_fault(row["text"], language, row["kind"])
    return None if fault is None else vars(fault)


def _outputs(attempt: Attempt, records: Iterable[ShardRecord], prefix: str) -> list[Path]:
    """Local files that an earlier step wrote under that prefix."""
    return [
        local_path(attempt, file)
        for record in records
        for name, file in sorted(record.files.items())
        if name.startswith(prefix)
    ]
