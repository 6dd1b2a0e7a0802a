"""The clean stage's search for contamination: the runs of the evaluation sets, and documents against them.

Of the sets only the runs' hashes are in memory, with the example of each, 24 bytes for a run;
documents go by one at a time. Two different runs share a hash of 64 bits with a probability of
5e-20, so that among a billion runs of documents against ten million of examples one such pair has
a probability of 1 in 1,800.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.corpus.clean import Scope
from pipeline.corpus.contamination import TEXT_FORMATS, ContaminationConfig, EvaluationSet, EvaluationSetError
from pipeline.corpus.paragraphs import read_repeated
from pipeline.corpus.tables import local_path, outputs_of, read_documents, read_rows, write_rows
from pipeline.corpus.word_runs import gram_hashes, text_grams, word_hashes, words_of
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, File, ShardRecord

CONTAMINATION = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("dropped", pa.bool_()),
        ("share", pa.float64()),
        ("set", pa.string()),
        ("example", pa.int64()),
        ("runs", pa.int64()),
        ("words", pa.string()),
    ]
)
"""A row for each document and example that share a run: which share of the document's words lies in shared
runs, the set's file name, the row or line of the example (from 1), how many runs they share, the first."""
BATCH_ROWS = 1_000

Runs = NDArray[np.uint64]
"""Three rows: the hashes of runs of words, sorted; the place of each one's set in the configuration; the
row or line in it, from 1. A row lies in one piece, so that a search copies nothing."""


@dataclass(frozen=True)
class Overlap:
    """What a document shares with one example."""

    set: int
    example: int
    runs: int
    """Runs of the document that the example has."""
    words: str
    """The first of them."""


@dataclass(frozen=True)
class Searching:
    """One shard's good documents, to be compared with the runs of the evaluation sets."""

    attempt: Attempt
    judged: ShardRecord
    compared: ShardRecord
    index: File
    config: ContaminationConfig
    paragraphs_once: Scope


def publish_index(attempt: Attempt, config: ContaminationConfig) -> tuple[File, Counter[str]]:
    """The sets' runs as a file that every task can read. The sets are read here, where the flow runs."""
    index, counts = index_of(config)
    path = attempt.path("evaluation/runs.npy")
    np.save(path, index)
    return attempt.publish(path), counts


def search(part: Searching, output: ShardOutput) -> dict[str, int]:
    """Write which documents share what with which examples, those that are duplicates left out."""
    index = np.load(local_path(part.attempt, part.index), mmap_mode="r")
    name = f"{part.judged.identity}.parquet"
    duplicates = {
        row["id"] for row in read_rows(outputs_of(part.attempt, [part.compared], f"duplicates/{name}"))
    }
    repeated = read_repeated(
        outputs_of(part.attempt, [part.compared], f"repeated/{name}"), part.paragraphs_once
    )
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter({"evaluation.overlapping": 0})
    names = [Path(each.path).name for each in part.config.sets]
    for path in outputs_of(part.attempt, [part.judged], "good/"):
        for document in read_documents(path, ["id", "url", "kind", "source", "text"]):
            if document["id"] in duplicates:
                continue
            text = repeated.taken_out(document).text
            share, found = overlaps(text, index, part.config.words)
            counts["evaluation.overlapping"] += bool(found)
            about = {
                "id": document["id"],
                "url": document["url"],
                "share": share,
                "dropped": share > part.config.share,
            }
            rows += [{**about, **vars(each), "set": names[each.set]} for each in found]
    write_rows(output.path(f"contamination/{name}"), rows, CONTAMINATION)
    return dict(counts)


def contaminated(attempt: Attempt, record: ShardRecord | None) -> dict[str, dict[str, Any]]:
    """Document → the first row of the report on it, for those that are to be dropped."""
    found: dict[str, dict[str, Any]] = {}
    for path in outputs_of(attempt, [record], "contamination/") if record is not None else ():
        for row in read_rows([path]):
            if row["dropped"]:
                found.setdefault(row["id"], row)
    return found


def index_of(config: ContaminationConfig) -> tuple[Runs, Counter[str]]:
    """All runs of the sets, each once: with the first example that has it.

    And how many examples were read (`evaluation.examples`; a text file is one) and how many of them are
    too short to have a run (`evaluation.too-short`). Raises EvaluationSetError.
    """
    parts: list[Runs] = [np.empty((3, 0), np.uint64)]
    counts: Counter[str] = Counter({"evaluation.examples": 0, "evaluation.too-short": 0})
    for place, each in enumerate(config.sets):
        longest: Counter[int] = Counter()
        for examples, words in passages_of(each):
            grams = text_grams(" ".join(words), config.words)
            part = np.empty((3, len(grams)), np.uint64)
            part[0], part[1], part[2] = grams, place, examples[: len(grams)]
            parts.append(part)
            if examples:
                longest[examples[0]] = max(longest[examples[0]], len(words))
        counts["evaluation.examples"] += len(longest)
        counts["evaluation.too-short"] += sum(most < config.words for most in longest.values())
    together = np.concatenate(parts, axis=1)
    _, first = np.unique(together[0], return_index=True)
    return np.ascontiguousarray(together[:, first]), counts


def overlaps(text: str, index: Runs, words_in_a_row: int) -> tuple[float, list[Overlap]]:
    """Which share of the text's words lies in runs of the index, and with which examples it shares them."""
    (hashes,) = word_hashes([text])
    grams = gram_hashes(hashes, words_in_a_row)
    if not index.size or not grams.size:
        return 0.0, []
    place = np.minimum(np.searchsorted(index[0], grams), index.shape[1] - 1)
    starts = np.flatnonzero(index[0][place] == grams)
    if not starts.size:
        return 0.0, []
    edges = np.zeros(len(hashes) + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + words_in_a_row, -1)
    share = float(np.count_nonzero(np.cumsum(edges)[:-1])) / len(hashes)
    words = words_of(text)
    examples: Counter[tuple[int, int]] = Counter()
    firsts: dict[tuple[int, int], int] = {}
    for start, of_set, example in zip(starts.tolist(), *index[1:, place[starts]].tolist(), strict=True):
        examples[of_set, example] += 1
        firsts.setdefault((of_set, example), start)
    return share, [
        Overlap(*example, examples[example], " ".join(words[start : start + words_in_a_row]))
        for example, start in sorted(firsts.items())
    ]


def passages_of(each: EvaluationSet) -> Iterator[tuple[Sequence[int], list[str]]]:
    """Words that stand together, and the row or line (from 1) that each of them is in.

    Of a table every text is for itself; a text file is read through its line ends.
    """
    path = Path(each.path).expanduser()
    if path.suffix in TEXT_FORMATS:
        lines: list[int] = []
        words: list[str] = []
        for number, line in enumerate(_lines(path), 1):
            found = words_of(line)
            words += found
            lines += [number] * len(found)
        yield lines, words
        return
    for number, row in _rows(path, each.columns):
        for text in _texts(row.values()):
            words = words_of(text)
            yield [number] * len(words), words


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
        elif isinstance(value, Iterable):
            yield from _texts(value)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        try:
            yield from file
        except UnicodeDecodeError as error:
            raise EvaluationSetError(f"{path}: not UTF-8 ({error}); convert it") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row of a Parquet file or line of a JSONL file, from 1, and the columns that are wanted."""
    rows = enumerate(_parquet_rows(path, columns), 1) if path.suffix == ".parquet" else _json_rows(path)
    for number, row in rows:
        missing = [column for column in columns if column not in row]
        if missing:
            raise EvaluationSetError(
                f"{path}, row {number}: no column {missing[0]!r}, found {', '.join(sorted(row))}; "
                "set the columns of this set in clean.contamination.sets"
            )
        yield number, {column: row[column] for column in columns}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EvaluationSetError(f"{path}, row {number}: not JSON ({error}); correct it") from None
        if not isinstance(row, dict):
            raise EvaluationSetError(f"{path}, row {number}: found {type(row).__name__}, wanted an object")
        yield number, row


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            there = [column for column in columns if column in file.schema_arrow.names]
            if len(there) < len(columns):
                yield dict.fromkeys(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=there):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise EvaluationSetError(f"{path}: not a Parquet file that can be read ({error})") from None
