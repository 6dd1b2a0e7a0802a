"""A page's whole story: what each stage of a run made of it, from the fetch to the steps of the training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawler.inquiry import Frontiers
from crawler.urls import canonical
from crawler.why import why
from flows.display import number
from flows.references import KINDS
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import Pages
from pipeline.corpus.personal.matching import PLACEHOLDERS
from pipeline.corpus.reasons import REASONS
from pipeline.errors import InputError
from pipeline.store import Artifact, Store
from pipeline.tokens.encode import Tokens
from pipeline.training.pretrain import BaseModel
from pipeline.training.steps import STEPS, Steps

A = TypeVar("A", bound=Artifact)
Facts = tuple[tuple[str, str], ...]
"""Label and value, in the order in which they are told."""
STEPS_TOLD = 10
ROWS_TOLD = 10


class UnknownRunError(InputError):
    """A run of that name has made nothing in this store that tells of pages."""

    remedy = "Name a run that `moinho ls` shows, such as quickstart."


@dataclass(frozen=True)
class Chapter:
    """What one stage did with a page."""

    stage: str
    artifact: str
    """`stage/key`."""
    facts: Facts


def story(store: Store, run: str, url: str) -> Iterator[Chapter]:
    """What became of a URL in a run, a chapter for each stage that has seen it, in the order of the road.

    Raises UnknownRunError, NoWebPageError.
    """
    found = RunArtifacts(store, run)
    if (pages := found.get(Pages)) is not None:
        yield from _crawled(pages, url)
    raw = found.get(RawDocuments)
    if raw is not None:
        yield from _extracted(raw, url)
    documents = found.get(Documents)
    if documents is not None:
        yield from _cleaned(documents, raw, url)
    corpus = found.get(Corpus)
    if corpus is None:
        return
    parts = [(split, row) for split in ("train", "held-out") for row in rows_of_url(corpus, f"{split}/", url)]
    if not parts:
        return
    yield Chapter(corpus.stage, corpus.base, _held_out(parts))
    tokens, base = found.get(Tokens), found.get(BaseModel)
    ids = [row["id"] for split, row in parts if split == "train"]
    if tokens is not None and ids:
        rows = rows_with(tokens, ids)
        yield Chapter(tokens.stage, tokens.base, _packed(tokens, rows))
        if base is not None:
            yield Chapter(base.stage, base.base, _learned(base, rows))


def rows_with(tokens: Tokens, documents: Sequence[str]) -> dict[str, list[int]]:
    """Document → the training rows that have a piece of it."""
    names = [name for name in tokens.names("train/") if name.endswith(".documents.parquet")]
    pieces, wanted = tokens.rows("train").pieces, set(documents)
    found: dict[str, list[int]] = {}
    for shard, name in enumerate(names):
        ids = pq.read_table(tokens.path(name), columns=["id"])["id"]
        places = {n: id for n, id in enumerate(ids.to_pylist()) if id in wanted}
        if places:
            here = pieces[(pieces["shard"] == shard) & np.isin(pieces["document"], list(places))]
            for piece in here:
                found.setdefault(places[int(piece["document"])], []).append(int(piece["row"]))
    return found


class RunArtifacts:
    """The artifacts that a run's names lead to."""

    def __init__(self, store: Store, name: str) -> None:
        self._found: dict[type[Artifact], Artifact] = {}
        for each, (stage, key) in store.named().items():
            if each.rpartition("/")[0] == name and stage in KINDS:
                kind = KINDS[stage]
                self._found[Pages if issubclass(kind, Pages) else kind] = kind(store.storage, key)
        if not self._found:
            runs = sorted({each.rpartition("/")[0] for each in store.named()})
            raise UnknownRunError(
                f"{name}: no run of that name in the store at {store.storage.address}; there is "
                f"{', '.join(runs) or 'none'}"
            )

    def get(self, kind: type[A]) -> A | None:
        found = self._found.get(kind)
        return found if isinstance(found, kind) and found.exists() else None


def rows_of_url(artifact: Artifact, prefix: str, url: str) -> list[dict[str, Any]]:
    """The rows of that URL, as a crawl spells it, in its Parquet files."""
    paths = [path for path in artifact.paths(prefix) if path.suffix == ".parquet"]
    of_page = pc.field("url") == (canonical(url) or url)
    return [row for path in paths for row in pq.read_table(path, filters=of_page).to_pylist()]


def _crawled(pages: Pages, url: str) -> Iterator[Chapter]:
    """What the crawl knows of it; of archives that were taken in nothing but what was made of their pages."""
    frontiers = pages.paths("frontier/")
    if not frontiers:
        return
    with Frontiers(frontiers, finished=True) as known:
        answer = why(known, url, pages.record.config, finished=True)
    visit = answer.known.visit if answer.known else None
    facts = [("became", f"{visit.outcome if visit else answer.state}: {answer.told}")]
    if visit is not None:
        size = None if visit.bytes is None else f"{visit.bytes:,} bytes"
        status = None if visit.status is None else f"status {visit.status}"
        parts = [status, visit.content_type, size, f"at {visit.fetched}"]
        facts.append(("answer", ", ".join(part for part in parts if part)))
    facts += [("way" if not n else "", step.url) for n, step in enumerate(answer.way)]
    if answer.leads_to is not None:
        facts.append(("leads to", f"{answer.leads_to.url}: {answer.leads_to.told}"))
    if answer.advice is not None:
        facts.append(("to do", answer.advice))
    yield Chapter(pages.stage, pages.base, tuple(facts))


def _extracted(raw: RawDocuments, url: str) -> Iterator[Chapter]:
    for row in rows_of_url(raw, "raw/", url):
        stated = [f"{name} {row[name]}" for name in ("title", "author", "date", "licence") if row[name]]
        facts = [
            (
                "read",
                f"{len(row['text'].encode()):,} bytes of text out of {row['bytes']:,}, as {row['kind']}",
            ),
            ("states", "; ".join(stated)),
            ("document", row["id"]),
        ]
        yield Chapter(raw.stage, raw.base, _told(facts))
    for row in rows_of_url(raw, "dropped/", url):
        yield Chapter(raw.stage, raw.base, _drop(row, {}))


def _cleaned(documents: Documents, raw: RawDocuments | None, url: str) -> Iterator[Chapter]:
    """Kept or dropped; what extraction dropped is told there."""
    before = {row["id"]: row["text"] for row in (rows_of_url(raw, "raw/", url) if raw is not None else ())}
    for row in rows_of_url(documents, "kept/", url):
        size, text = len(row["text"].encode()), before.get(row["id"])
        cut = f" of {len(text.encode()):,}" if text is not None else ""
        private = {sign: row["text"].count(sign) for sign in PLACEHOLDERS.values() if sign in row["text"]}
        quality = "" if row["quality"] is None else f", quality {number(row['quality'])}"
        facts = [
            (
                "kept",
                f"{size:,} bytes{cut}, in {row['language']} (score {row['language_score']:.2f}{quality})",
            ),
            ("cut", _missing_lines(text, row["text"]) if text is not None else ""),
            ("replaced", ", ".join(f"{count} {sign}" for sign, count in private.items())),
        ]
        yield Chapter(documents.stage, documents.base, _told(facts))
    for row in rows_of_url(documents, "dropped/", url):
        if row["id"] in before:
            yield Chapter(documents.stage, documents.base, _drop(row, _urls_of(documents, row["detail"])))


def _missing_lines(before: str, after: str) -> str:
    """How many lines are not there any more as they were, and the first of them."""
    there = set(after.split("\n"))
    gone = [line for line in before.split("\n") if line.strip() and line not in there]
    first = f", the first: {gone[0].strip()[:80]}" if gone else ""
    return f"{len(gone):,} lines cut or changed{first}" if gone else ""


def _urls_of(documents: Documents, id: str | None) -> Mapping[str, str]:
    """Of the document that a duplicate's detail names."""
    paths = documents.paths("kept/") if id else []
    tables = (pq.read_table(path, columns=["id", "url"], filters=pc.field("id") == id) for path in paths)
    return {row["id"]: row["url"] for table in tables for row in table.to_pylist()}


def _drop(row: Mapping[str, Any], urls: Mapping[str, str]) -> Facts:
    limits = [
        f"{name} {number(row[column])}"
        for name, column in (("found", "value"), ("limit", "threshold"))
        if row[column] is not None
    ]
    facts = [
        ("dropped", f"{row['reason']}: {REASONS.get(row['reason'], '').replace('`', '')}"),
        ("measured", ", ".join(limits)),
        ("detail", urls.get(row["detail"] or "", row["detail"] or "")),
        ("document", row["id"]),
    ]
    return _told(facts)


def _held_out(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> Facts:
    return tuple(
        (split, f"{row['id']}: bytes {row['start']:,} to {row['end']:,} of the page's text")
        for split, row in parts
    )


def _packed(tokens: Tokens, rows: Mapping[str, Sequence[int]]) -> Facts:
    width = tokens.row_tokens
    return tuple(
        (f"rows of {width:,}" if not n else "", f"{id}: {_some(list(map(str, numbers)), ROWS_TOLD)}")
        for n, (id, numbers) in enumerate(rows.items())
    )


def _learned(base: BaseModel, rows: Mapping[str, Sequence[int]]) -> Facts:
    """The steps in whose batches the rows were."""
    steps = Steps.model_validate_json(base.path(STEPS).read_bytes())
    numbers = dict.fromkeys(row for each in rows.values() for row in each)
    used = sorted({step for row in numbers for step in steps.uses(row)})
    if not used:
        return (("steps", f"none of its {steps.steps:,} steps came to these rows"),)
    facts = [
        ("steps", f"{len(used):,} of {steps.steps:,}: {_some([f'{step:,}' for step in used], STEPS_TOLD)}")
    ]
    if skipped := sorted(set(used) & set(steps.skipped)):
        facts.append(("skipped", f"no update was made at {_some(list(map(str, skipped)), STEPS_TOLD)}"))
    return tuple(facts)


def _some(words: Sequence[str], most: int) -> str:
    rest = f" and {len(words) - most:,} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{rest}"


def _told(facts: Sequence[tuple[str, str]]) -> Facts:
    """Those that have something to tell."""
    return tuple(fact for fact in facts if fact[1])
