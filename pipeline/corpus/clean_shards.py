"""The clean stage's Ray tasks: judge each document, compare them all, divide them into kept and dropped."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.boilerplate import REMOVED, read_common, removed_rows, site_of, strip_lines
from pipeline.corpus.classifier import Classifier
from pipeline.corpus.clean import CleanConfig, Documents, Keeper, Scope
from pipeline.corpus.contamination_shards import contaminated
from pipeline.corpus.duplicates import find_duplicates
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.forgotten import Forgotten
from pipeline.corpus.judgement import Judgement
from pipeline.corpus.measured_rules import write_sample
from pipeline.corpus.paragraphs import MOST_REPEATED, RepeatedParagraphs, read_repeated
from pipeline.corpus.privacy import PrivacyConfig, replace_personal
from pipeline.corpus.rule_files import LanguageRules, read_rules
from pipeline.corpus.scoring import scorer
from pipeline.corpus.signatures import write_signatures
from pipeline.corpus.tables import (
    DROPPED,
    KEPT,
    TEXT_ROWS,
    outputs_of,
    read_documents,
    read_rows,
    write_rows,
    write_table,
)
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

SAMPLE_CHARACTERS = 200


@dataclass(frozen=True)
class Sampling:
    """One raw shard, of which documents are taken to measure rules on."""

    raw: RawDocuments
    attempt: Attempt
    shard: str
    common: ShardRecord
    languages: tuple[str, ...]
    forgotten: Forgotten


@dataclass(frozen=True)
class Judging:
    """One raw shard to be judged, document by document."""

    raw: RawDocuments
    attempt: Attempt
    shard: str
    config: CleanConfig
    common: ShardRecord
    rules: Mapping[str, LanguageRules]
    """Of the languages that have files of rules."""
    measured: tuple[ShardRecord, ...]
    """Of the others."""
    classifier: Classifier | None
    forgotten: Forgotten


@dataclass(frozen=True)
class Signing:
    """One shard of an earlier run's documents, with which those of this run will be compared."""

    documents: Documents
    shard: str
    config: CleanConfig


@dataclass(frozen=True)
class Comparing:
    """All that was judged good, to be compared with each other and with what there is already."""

    attempt: Attempt
    judged: tuple[ShardRecord, ...]
    earlier: tuple[ShardRecord, ...]
    keeper: Keeper


@dataclass(frozen=True)
class Dividing:
    """One shard to be written as it will stay."""

    raw: RawDocuments
    attempt: Attempt
    judged: ShardRecord
    compared: ShardRecord
    searched: ShardRecord | None
    """The report on contamination, if there are evaluation sets."""
    paragraphs_once: Scope
    undecided: frozenset[str]
    """Tags of kept documents whose variety is undecided, where one was asked for."""
    forgotten: Forgotten


def sample(part: Sampling, output: ShardOutput) -> dict[str, int]:
    """Write documents of the languages that rules are to be measured for."""
    name = f"{part.shard}.parquet"
    rows = _remembered(part.raw.path(f"raw/{name}"), part.forgotten, [])
    documents = _without_boilerplate(rows, part.attempt, part.common, Counter())
    return write_sample(documents, part.languages, output, name)


def judge(part: Judging, output: ShardOutput) -> dict[str, int]:
    """Write the shard's candidates with their signatures, and what language and quality drop."""
    good: dict[str, dict[str, Any]] = {}
    dropped: list[dict[str, Any]] = []
    personal: Counter[str] = Counter()
    removed: Counter[tuple[str, str]] = Counter()
    name = f"{part.shard}.parquet"
    score = None if part.classifier is None else scorer(part.classifier.path("model.safetensors"))
    judgement = Judgement(part.config, _all_rules(part), score)
    rows = _remembered(part.raw.path(f"raw/{name}"), part.forgotten, dropped)
    documents = _without_boilerplate(rows, part.attempt, part.common, removed)
    for row, fault in _judged(documents, judgement):
        if fault is not None:
            dropped.append(drop(row, **fault))
            continue
        personal.update(_without_personal(row, part.config.privacy))
        if row["id"] in good:
            dropped.append(drop(row, "duplicate-exact", detail=row["id"]))
        else:
            good[row["id"]] = row
    write_rows(output.path(f"good/{name}"), good.values(), KEPT)
    write_rows(output.path(f"dropped/{name}"), dropped, DROPPED)
    write_rows(output.path(f"boilerplate/{name}"), removed_rows(removed), REMOVED)
    write_signatures(
        output.path(f"signatures/{name}"),
        (good[identity] for identity in sorted(good)),
        part.config.duplicate_bands,
        part.config.duplicate_rows,
        part.config.paragraphs_once,
    )
    replaced = {f"personal.{kind}": count for kind, count in personal.items()}
    return {"good": len(good), "dropped": len(dropped), **replaced}


def sign(part: Signing, output: ShardOutput) -> dict[str, int]:
    """Write the signatures of documents that an earlier run kept."""
    path = part.documents.path(f"kept/{part.shard}.parquet")
    columns = ("id", "url", "kind", "source", "text", "date", "quality")
    write_signatures(
        output.path(f"signatures/{part.shard}.parquet"),
        read_documents(path, columns),
        part.config.duplicate_bands,
        part.config.duplicate_rows,
        part.config.paragraphs_once,
    )
    return {}


def compare(work: Comparing, output: ShardOutput) -> dict[str, int]:
    """Write for each shard which of its documents are duplicates, of whom, and in which way."""
    shards = {
        record.identity: path
        for record in work.judged
        for path in outputs_of(work.attempt, [record], "signatures/")
    }
    earlier = outputs_of(work.attempt, work.earlier, "signatures/")
    count = 0
    with tempfile.TemporaryDirectory() as scratch:
        for found in find_duplicates(shards, work.keeper, Path(scratch), earlier):
            write_table(output.path(f"duplicates/{found.shard}.parquet"), found.duplicates)
            write_table(output.path(f"repeated/{found.shard}.parquet"), found.repeated)
            count += len(found.duplicates)
    return {"duplicates": count}


def divide(part: Dividing, output: ShardOutput) -> dict[str, int]:
    """Write the shard's kept documents and dropped pages, those that extraction dropped included."""
    name = f"{part.judged.identity}.parquet"
    found = {
        row["id"]: row for row in read_rows(outputs_of(part.attempt, [part.compared], f"duplicates/{name}"))
    }
    (path,) = outputs_of(part.attempt, [part.judged], "good/")
    good = pq.read_table(path)
    overlapping = contaminated(part.attempt, part.searched)
    again, repeats = (pc.is_in(good["id"], pa.array(ids, pa.string())) for ids in (found, overlapping))
    kept = good.filter(pc.invert(pc.or_(again, repeats)))
    dropped = read_rows(outputs_of(part.attempt, [part.judged], "dropped/"))
    unread = list(_remembered(part.raw.path(f"dropped/{name}"), part.forgotten, dropped))
    dropped += unread
    dropped += [
        drop(row, found[row["id"]]["reason"], detail=found[row["id"]]["keeper"])
        for row in good.filter(again).to_pylist()
    ]
    for row in good.filter(repeats).to_pylist():
        hit = overlapping[row["id"]]
        what = f"{hit['set']}, {hit['example']}: {hit['words']}"
        dropped.append(drop(row, "contamination", hit["share"], detail=what))
    repeated = read_repeated(
        outputs_of(part.attempt, [part.compared], f"repeated/{name}"), part.paragraphs_once
    )
    kept, stumps, paragraphs = _with_paragraphs_once(kept, repeated)
    lines = read_rows(outputs_of(part.attempt, [part.judged], "boilerplate/"))
    write_table(output.path(f"kept/{name}"), kept)
    write_rows(output.path(f"dropped/{name}"), dropped + stumps, DROPPED)
    write_rows(output.path(f"boilerplate/{name}"), [*lines, *removed_rows(paragraphs)], REMOVED)
    undecided = pc.sum(pc.is_in(kept["language"], pa.array(sorted(part.undecided), pa.string()))).as_py()
    return (
        account(kept, dropped + stumps)
        | ({"kept-undecided": undecided or 0} if part.undecided else {})
        | {
            "removed-lines": sum(row["pages"] for row in lines),
            "removed-paragraphs": paragraphs.total(),
        }
    )


def _with_paragraphs_once(
    kept: pa.Table, repeated: RepeatedParagraphs
) -> tuple[pa.Table, list[dict[str, Any]], Counter[tuple[str, str]]]:
    """What is kept of the documents, those of which too little is left, and what was taken out by site."""
    touched = pc.is_in(kept["id"], pa.array(repeated.of, pa.string()))
    left: list[dict[str, Any]] = []
    stumps: list[dict[str, Any]] = []
    removed: Counter[tuple[str, str]] = Counter()
    for row in kept.filter(touched).to_pylist():
        stripped = repeated.taken_out(row)
        share = 1 - len(stripped.text) / len(row["text"])
        if share > MOST_REPEATED:
            stumps.append(drop(row, "paragraphs-elsewhere", share, MOST_REPEATED))
        else:
            home = site_of(row) or row["source"]
            removed.update((home, paragraph) for paragraph in set(stripped.removed))
            left.append(row | {"text": stripped.text})
    whole = kept.filter(pc.invert(touched))
    return pa.concat_tables([whole, pa.Table.from_pylist(left, KEPT)]).sort_by("id"), stumps, removed


def account(kept: pa.Table, dropped: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The counts of a shard: pages = kept + the sum of dropped.<reason>."""
    return {
        "pages": len(kept) + len(dropped),
        "kept": len(kept),
        "kept-bytes": pc.sum(pc.binary_length(kept["text"])).as_py() or 0,
        **Counter(f"kept.{language}" for language in kept["language"].to_pylist()),
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
    rows = read_rows(outputs_of(attempt, divided, "dropped/"))
    if not rows:
        return "there was no page to begin with; crawl other seeds"
    (reason, count), *_ = Counter(row["reason"] for row in rows).most_common(1)
    sample = min((row for row in rows if row["reason"] == reason), key=lambda row: str(row["id"]))
    measured = "" if sample["value"] is None else f", measured {sample['value']:g}"
    if sample["threshold"] is not None:
        measured += f" where the limit is {sample['threshold']:g}"
    if reason == "forgotten":
        return f"{count} of {len(rows)} pages are to be left out (`moinho forget`); crawl other seeds"
    text = " ".join(sample["text"].split())[:SAMPLE_CHARACTERS]
    return (
        f"of {len(rows)} pages {count} were dropped as {reason!r}. "
        f"For example {sample['url']}: {sample['detail'] or reason}{measured}"
        + (f", text {text!r}" if text else "")
        + ". Set extract.kind (of a source its kind) or clean.languages to what the pages are, or crawl "
        "other seeds"
    )


def _remembered(path: Path, forgotten: Forgotten, dropped: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A shard's documents; those to be forgotten go to `dropped` instead, without their text."""
    for row in read_documents(path):
        rule = forgotten.rule_for(row["url"])
        if rule is None:
            yield row
        else:
            dropped.append(drop(row | {"title": "", "text": ""}, "forgotten", detail=rule))


def _without_boilerplate(
    documents: Iterator[dict[str, Any]],
    attempt: Attempt,
    common: ShardRecord,
    removed: Counter[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """The documents without the lines of their sites, which are counted in `removed`."""
    lines = read_common(outputs_of(attempt, [common], "common.parquet"))
    for row in documents:
        site = site_of(row)
        if site is not None and site in lines:
            stripped = strip_lines(row["text"], lines[site])
            removed.update((site, line) for line in set(stripped.removed))
            row["text"] = stripped.text
        yield row


def _judged(
    documents: Iterator[dict[str, Any]], judgement: Judgement
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each document with its fault, a few in memory at a time."""
    while rows := list(islice(documents, TEXT_ROWS)):
        yield from zip(rows, judgement.faults(rows), strict=True)


def _without_personal(row: dict[str, Any], config: PrivacyConfig) -> Counter[str]:
    """Puts placeholders into the document, and says how many of each kind; authors' names stay."""
    counts: Counter[str] = Counter()
    for column in ("title", "author", "text"):
        if row[column] is not None:
            row[column], found = replace_personal(row[column], config)
            counts.update(found)
    return counts


def _all_rules(part: Judging) -> dict[str, LanguageRules]:
    """The rules at hand and those that were measured."""
    rules = dict(part.rules)
    for path in outputs_of(part.attempt, part.measured, "rules/"):
        found = read_rules(path)
        rules[found.language] = found
    return rules
