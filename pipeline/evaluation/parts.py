"""The evaluation in parts: three steps of Ray tasks, each part of which is done once and found again.

1. training: each training file is searched for what held-out text repeats, and its words counted.
2. held-out: what is left of the held-out text, cut into pieces.
3. measure: one part for each kind of measurement, all independent of each other.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compute import Compute
from pipeline.evaluation.evaluate import EvaluateConfig, NothingToScoreError
from pipeline.evaluation.part import PartOf, results
from pipeline.models.model import Model
from pipeline.shards import ShardOutput, files_of
from pipeline.store import Artifact, Attempt, File
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

PIECES_PER_PART = 128
HELD_OUT = "held-out.parquet"
PIECES = "pieces.parquet"
RESULT = "result.json"


@dataclass(frozen=True)
class Inputs:
    """All that is evaluated, and how."""

    corpus: Artifact
    tokens: Tokens
    vocabulary: Vocabulary
    conversations: Artifact | None
    base: Model
    chat: Model | None
    config: EvaluateConfig


Part = PartOf[Inputs]
"""What one task is given."""


def run_parts(
    attempt: Attempt, inputs: Inputs, compute: Compute
) -> tuple[dict[str, list[Any]], dict[str, File]]:
    """Results by measurement (a list, one for each of its parts), and the files that tell what was scored.

    Raises NothingToScoreError.
    """
    training = {
        name.replace("/", "-").removesuffix(".parquet"): Part(attempt, inputs, name)
        for name in inputs.corpus.names("train/")
    }
    searched = files_of(compute.map_shards(attempt, "training", training, search_training))
    prepared = compute.map_shards(
        attempt, "held-out", {"all": Part(attempt, inputs, "held-out", searched)}, prepare_held_out
    )
    files = searched | files_of(prepared)
    pieces = prepared[0].counts["pieces"]
    if not pieces:
        raise NothingToScoreError(
            f"training text repeats every passage of the {prepared[0].counts['documents']} held-out "
            f"documents in {inputs.corpus.base} (13 words in a row); give the flow more pages, or a "
            "larger held-out share"
        )
    measures = _measures(attempt, inputs, files, pieces)
    records = [*prepared, *compute.map_shards(attempt, "measure", measures, measure)]
    return results(attempt, records), {HELD_OUT: files[HELD_OUT]}


def _measures(attempt: Attempt, inputs: Inputs, files: dict[str, File], pieces: int) -> dict[str, Part]:
    """The parts of the last step, the longest first."""
    names = ["words", "compression", "ngram", "tokenizer", "completions"]
    if inputs.chat is not None and inputs.conversations is not None:
        names[:0] = ["answers", "own-answers"]
    parts = {
        f"likelihood-{first:06}": Part(
            attempt, inputs, "likelihood", files, first, min(first + PIECES_PER_PART, pieces)
        )
        for first in range(0, pieces, PIECES_PER_PART)
    }
    return parts | {name: Part(attempt, inputs, name, files) for name in names}


def _rows(paths: Iterable[Path], *columns: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in paths for row in pq.read_table(path, columns=list(columns)).to_pylist()]


def _texts(artifact: Artifact, split: str) -> list[str]:
    return [row["text"] for row in _rows(artifact.paths(f"{split}/"), "text")]


def search_training(part: Part, output: ShardOutput) -> dict[str, int]:
    """Which runs of 13 words of the held-out text this training file has, and its commonest words."""
    from pipeline.corpus import word_runs
    from pipeline.evaluation import words

    wanted = word_runs.grams_of_all(_texts(part.inputs.corpus, "held-out"))
    rows = _rows([part.inputs.corpus.path(part.name)], "language", "text")
    shared = word_runs.grams_also_in(wanted, (row["text"] for row in rows))
    np.save(output.path(f"{part.name}.shared.npy"), shared)
    counts = words.count_words((row["language"], row["text"]) for row in rows)
    output.path(f"{part.name}.words.json").write_text(json.dumps(counts, ensure_ascii=False))
    return {"shared_runs": len(shared)}


def prepare_held_out(part: Part, output: ShardOutput) -> dict[str, int]:
    """The held-out documents without their shared passages, and the pieces of what is left."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.evaluation import held_out

    shared = [np.load(part.path(name)) for name in part.files if name.endswith(".shared.npy")]
    together = np.unique(np.concatenate([np.empty(0, np.uint64), *shared]))
    rows = _rows(part.inputs.corpus.paths("held-out/"), "id", "url", "language", "text")
    documents = held_out.without_shared(rows, together)
    pieces = held_out.cut_pieces(documents, part.inputs.vocabulary, part.inputs.tokens.row_tokens)
    pq.write_table(pa.Table.from_pylist(documents, schema=held_out.documents_schema()), output.path(HELD_OUT))
    pq.write_table(pa.Table.from_pylist(pieces, schema=held_out.pieces_schema()), output.path(PIECES))
    part.write(output, held_out.summary(documents, pieces, part.inputs.tokens.row_tokens))
    return {"documents": len(documents), "pieces": len(pieces)}


def measure(part: Part, output: ShardOutput) -> dict[str, int]:
    """One part of the last step."""
    from pipeline.evaluation import measurements

    functions: dict[str, Callable[[Part], Any]] = {
        "likelihood": measurements.likelihood,
        "compression": measurements.compression,
        "ngram": measurements.ngram,
        "words": measurements.next_words,
        "answers": measurements.answered,
        "own-answers": measurements.own_answers,
        "tokenizer": measurements.tokenizer,
        "completions": measurements.completions,
    }
    part.write(output, functions[part.name](part))
    return {}
