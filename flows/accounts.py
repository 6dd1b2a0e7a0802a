"""A page's whole story: what each stage of a run made of it, from the fetch to the steps of the training."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawler.inquiry import Frontiers
from crawler.outcomes import meaning_of
from crawler.urls import canonical
from crawler.why import why
from flows.crawl_answers import answer_lines
from flows.display import number
from flows.references import KINDS, made_from
from flows.tracing import steps_of
from pipeline.corpus.canonical import canonical_url
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.extract_shards import CRAWL
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import Pages
from pipeline.corpus.personal.matching import PLACEHOLDERS
from pipeline.corpus.reasons import REASONS
from pipeline.errors import InputError
from pipeline.store import Artifact, Store
from pipeline.tokens.encode import Tokens
from pipeline.training.pretrain import BaseModel

A = TypeVar("A", bound=Artifact)
Facts = tuple[tuple[str, str], ...]
"""Label and value, in the order in which they are told."""
STEPS_TOLD = 10
ROWS_TOLD = 10
ROAD: tuple[type[Artifact], ...] = (BaseModel, Tokens, Corpus, Documents, RawDocuments, Pages)
"""From the end to the beginning."""
INPUTS = ("tokens", "corpus", "documents", "raw", "pages")
"""By these names each was given to the one after it."""


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


def story(found: "RunArtifacts", url: str) -> Iterator[Chapter]:
    """What became of a URL in a run, a chapter for each stage that has seen it, in the order of the road.

    Raises NoWebPageError of what is no URL, and no place in a file that the run has read.
    """
    raw, documents, corpus = found.get(RawDocuments), found.get(Documents), found.get(Corpus)
    read = rows_of_url(raw, "raw/", url) if raw is not None else []
    unread = rows_of_url(raw, "dropped/", url) if raw is not None else []
    pages = found.get(Pages)
    if pages is not None and (any(row["source"] == CRAWL for row in read + unread) or not read + unread):
        yield from _crawled(pages, url)
    if raw is not None:
        yield from (Chapter(raw.stage, raw.base, _read(row)) for row in read)
        yield from (Chapter(raw.stage, raw.base, _drop(row, {})) for row in unread)
    if documents is not None:
        yield from _cleaned(
            documents, {row["id"]: row["text"] for row in read} if raw is not None else None, url
        )
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


def story_by_either_scheme(found: "RunArtifacts", url: str) -> list[Chapter]:
    """As `story`. People write https where the page was crawled by http, and the other way round: where no
    stage after the crawl has seen the one, it is the other's story, if that has more."""
    told = list(story(found, url))
    scheme, separator, rest = url.partition("://")
    other = {"http": "https", "https": "http"}.get(scheme)
    if len(told) > 1 or not separator or other is None:
        return told
    return max(told, list(story(found, f"{other}://{rest}")), key=len)


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
    """What a run made on the road from pages to a base model: the last of it that is there, and what that was
    made from, so that all belong together even while another run of the name is on its way."""

    def __init__(self, store: Store, name: str) -> None:
        """Raises UnknownRunError, StaleArtifactError."""
        named = {}
        for each, (stage, key) in store.named().items():
            if each.rpartition("/")[0] == name and stage in KINDS:
                named[_kind(KINDS[stage])] = KINDS[stage](store.storage, key)
        there = [named[kind] for kind in ROAD if kind in named and named[kind].exists()]
        if not there:
            runs = sorted({each.rpartition("/")[0] for each in store.named()})
            raise UnknownRunError(
                f"{name}: no run of that name in the store at {store.storage.address} has made anything of "
                f"pages; there is {', '.join(runs) or 'none'}"
            )
        self._found: dict[type[Artifact], Artifact] = {}
        above: list[Artifact | None] = [there[0]]
        while above:
            artifact = above.pop()
            if artifact is not None and _kind(type(artifact)) not in self._found:
                self._found[_kind(type(artifact))] = artifact
                above += [made_from(artifact, role) for role in INPUTS if role in artifact.record.inputs]

    def get(self, kind: type[A]) -> A | None:
        found = self._found.get(kind)
        return found if isinstance(found, kind) else None


def gone_on_from(store: Store, found: RunArtifacts) -> list[str]:
    """What else the run's base model learned from, by name where it has one: the model that it began from,
    and the general text that was mixed in."""
    base, names = found.get(BaseModel), {at: name for name, at in store.named().items()}
    given = base.record.inputs if base is not None else {}
    there = [given[role] for role in ("start", "general") if role in given]
    return [names.get((each.stage, each.key), f"{each.stage}/{each.key}") for each in there]


def _kind(kind: type[Artifact]) -> type[Artifact]:
    """Pages are pages, whether crawled or taken from archives."""
    return Pages if issubclass(kind, Pages) else kind


def rows_of_url(artifact: Artifact, prefix: str, url: str) -> list[dict[str, Any]]:
    """The rows of that URL, in any of its usual spellings, in the artifact's Parquet files."""
    spelt = {url, canonical(url) or url}
    spellings = pa.array(sorted(spelt | set(map(canonical_url, spelt))))
    found: list[dict[str, Any]] = []
    for path in artifact.paths(prefix):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                urls = file.read_row_group(group, columns=["url"])["url"]
                places = np.flatnonzero(pc.is_in(urls, value_set=spellings).to_numpy(zero_copy_only=False))
                if len(places):
                    found += file.read_row_group(group).take(places).to_pylist()
    return found


def _crawled(pages: Pages, url: str) -> Iterator[Chapter]:
    """What the frontier of a crawl knows of it; of archives that were taken in what their log says."""
    frontiers = pages.paths("frontier/")
    if not frontiers:
        for line in pages.log():
            if line["url"] in (url, canonical(url)):
                meaning = meaning_of(line["outcome"])
                facts = [("state", f"{line['outcome']}: {meaning.told}"), ("detail", line["detail"] or "")]
                yield Chapter(pages.stage, pages.base, _told(facts))
        return
    with Frontiers(frontiers, finished=True) as known:
        answer = why(known, url, pages.record.config, finished=True)
        host = known.host(answer.known.host) if answer.known and answer.known.host else None
    yield Chapter(pages.stage, pages.base, tuple(answer_lines(answer, host)))


def _read(row: Mapping[str, Any]) -> Facts:
    stated = [f"{name} {row[name]}" for name in ("title", "author", "date", "licence") if row[name]]
    facts = [
        ("read", f"{len(row['text'].encode()):,} bytes of text out of {row['bytes']:,}, as {row['kind']}"),
        ("states", "; ".join(stated)),
        ("source", row["source"]),
        ("document", row["id"]),
    ]
    return _told(facts)


def _cleaned(documents: Documents, before: Mapping[str, str] | None, url: str) -> Iterator[Chapter]:
    """Kept or dropped. `before` are the texts as they were read, by id: what is not among them extraction
    dropped, which is told there; None if that is not known any more."""
    for row in rows_of_url(documents, "kept/", url):
        text = before.get(row["id"]) if before is not None else None
        cut = f" of {len(text.encode()):,}" if text is not None else ""
        private = {sign: row["text"].count(sign) for sign in PLACEHOLDERS.values() if sign in row["text"]}
        quality = "" if row["quality"] is None else f", quality {number(row['quality'])}"
        told = f"in {row['language']} (score {row['language_score']:.2f}{quality})"
        facts = [
            ("kept", f"{len(row['text'].encode()):,} bytes{cut}, {told}"),
            ("cut", _missing(text, row["text"]) if text is not None else ""),
            ("replaced", ", ".join(f"{count} {sign}" for sign, count in private.items())),
        ]
        yield Chapter(documents.stage, documents.base, _told(facts))
    for row in rows_of_url(documents, "dropped/", url):
        if before is None or row["id"] in before:
            yield Chapter(documents.stage, documents.base, _drop(row, _urls_of(documents, row["detail"])))


def kept_lines(before: str, after: str) -> list[tuple[str, bool]]:
    """The lines of a text, and whether each is still there as it was, in the same order."""
    lines, new = before.split("\n"), after.split("\n")
    left, place, found = Counter(lines), 0, []
    for line in lines:
        while place < len(new) and new[place] != line and not left[new[place]]:
            place += 1  # a line that was changed
        is_kept = place < len(new) and new[place] == line
        place += is_kept
        left[line] -= 1
        found.append((line, is_kept))
    return found


def _missing(before: str, after: str) -> str:
    """How many lines are not there any more as they were, and the first of them."""
    gone = [line for line, is_kept in kept_lines(before, after) if not is_kept and line.strip()]
    return f"{len(gone):,} lines cut or changed, the first: {gone[0].strip()[:80]}" if gone else ""


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
    steps = steps_of(base)
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
