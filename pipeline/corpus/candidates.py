"""What may become a document, from wherever it came, and how it becomes one or a reason why not."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.corpus.damage import REPLACEMENT
from pipeline.corpus.extract import ExtractConfig
from pipeline.corpus.extractor_process import NO_EXTRACTOR, ExtractorProcess, Failure, Limits
from pipeline.corpus.kinds import Kind
from pipeline.corpus.readers.read import Extracted, Reading
from pipeline.corpus.tables import DROPPED, RAW, bucket_of, document_id, shard_name, write_rows
from pipeline.shards import ShardOutput

TRIED_AGAIN = {"extractor-timeout", "extractor-crash", "extractor-memory"}
"""What may be the fault of the machine or of the page before; tried once more in a fresh process."""
Metas = Sequence[tuple[str, str]]
HELD_BYTES, DROP_BYTES = 32_000_000, 500
"""Text in memory before it is written, and what a drop takes of it."""


@dataclass(frozen=True)
class Stated:
    """What is said of a document, other than in itself."""

    title: str = ""
    author: str | None = None
    date: str | None = None
    licence: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A document as it was found, not read yet."""

    url: str
    """Canonical, or `<source>/<file>#<part>` for what is no page."""
    source: str
    kind: Kind
    data: bytes
    reading: Reading
    beside: Stated = field(default_factory=Stated)
    """What is stored with this document, such as in other columns of its row; it comes first."""
    of_source: Stated = field(default_factory=Stated)
    """What the user says of the whole source; taken where the document says nothing."""
    forbids: Callable[[Metas], str | None] | None = None
    """Given the page's meta elements, what is said against its use, if that is asked at all."""
    content: str | None = None
    """What the document is identified by, with its text, where its URL only says where it lies: it is then
    the same document in another file, or at another place of it."""


@dataclass(frozen=True)
class Refused:
    """A document that is not even read, and why."""

    url: str
    source: str
    failure: Failure


def write_documents(
    candidates: Iterable[Candidate | Refused], config: ExtractConfig, output: ShardOutput
) -> dict[str, int]:
    """Read every candidate; write `raw/` and `dropped/` in files for each bucket.

    Counts `pages`, and of those that became raw documents what extract.RawDocuments tells.
    """
    counts: Counter[str] = Counter()
    part = held = 0
    raw: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    for candidate, found in _read_all(candidates, config):
        counts["pages"] += 1
        held += DROP_BYTES
        if isinstance(candidate, Refused) or isinstance(found, Failure):
            failure = candidate.failure if isinstance(candidate, Refused) else found
            assert isinstance(failure, Failure)
            dropped.append(_dropped(candidate, "", failure, config))
        elif not found.text.strip():
            dropped.append(_dropped(candidate, found.title, Failure("empty", "no main text found"), config))
        else:
            raw.append(_raw(candidate, found))
            held += len(found.text)
            counts.update(_damage(found))
            if candidate.kind == "thread" and candidate.reading.format == "html":
                counts["threads-unrecognised"] += not found.thread
        if held > HELD_BYTES:
            _write(raw, dropped, config, part, output)
            part, held, raw, dropped = part + 1, 0, [], []
    _write(raw, dropped, config, part, output)
    return dict(counts)


def _damage(found: Extracted) -> dict[str, int]:
    """What the document lost before it was read, and what was taken out of it; empty if nothing."""
    replaced = found.text.count(REPLACEMENT)
    damage = {"replaced-characters": replaced, "documents-with-replaced": min(1, replaced)}
    damage |= {"removed-nuls": found.nuls, "documents-with-nuls": min(1, found.nuls)}
    return {name: count for name, count in damage.items() if count}


def _read_all(
    candidates: Iterable[Candidate | Refused], config: ExtractConfig
) -> Iterator[tuple[Candidate, Extracted | Failure] | tuple[Refused, Failure]]:
    limits = Limits(config.cpu_seconds, config.memory_bytes)
    with (
        ExtractorProcess(config.extractor, limits) as pages,
        ExtractorProcess(NO_EXTRACTOR, limits) as others,
    ):
        for candidate in candidates:
            if isinstance(candidate, Refused):
                yield candidate, candidate.failure
                continue
            process = pages if candidate.reading.format == "html" else others
            reading = replace(candidate.reading, expected=candidate.kind == "thread")
            found = process.extract(candidate.data, reading)
            if isinstance(found, Failure) and found.reason in TRIED_AGAIN:
                process.close()
                found = process.extract(candidate.data, reading)
            if isinstance(found, Extracted) and candidate.forbids is not None:
                reason = candidate.forbids(found.metas)
                found = found if reason is None else Failure("opt-out", reason)
            yield candidate, found


def _write(
    raw: list[dict[str, Any]],
    dropped: list[dict[str, Any]],
    config: ExtractConfig,
    part: int,
    output: ShardOutput,
) -> None:
    for folder, rows, schema in (("raw", raw, RAW), ("dropped", dropped, DROPPED)):
        by_bucket: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            by_bucket.setdefault(bucket_of(row["id"], config.shards), []).append(row)
        for number, inside in by_bucket.items():
            write_rows(output.path(f"{part:05d}/{folder}/{shard_name(number)}"), inside, schema)


def _raw(candidate: Candidate, found: Extracted) -> dict[str, Any]:
    beside, of_source = candidate.beside, candidate.of_source
    return {
        "id": document_id(candidate.url if candidate.content is None else candidate.content, found.text),
        "source": candidate.source,
        "url": candidate.url,
        "title": beside.title or found.title,
        "author": beside.author or found.author,
        "date": beside.date or found.date,
        "licence": beside.licence or found.licence or of_source.licence,
        "html_language": beside.language or found.language or of_source.language,
        "kind": "thread" if found.thread else candidate.kind,
        "text": found.text,
        "bytes": len(candidate.data),
        "quality": None,
    }


def _dropped(
    candidate: Candidate | Refused, title: str, failure: Failure, config: ExtractConfig
) -> dict[str, Any]:
    thresholds = {
        "extractor-timeout": config.cpu_seconds,
        "extractor-memory": config.memory_bytes,
    }
    return {
        "id": document_id(candidate.url, ""),
        "source": candidate.source,
        "url": candidate.url,
        "title": title,
        "text": "",
        "reason": failure.reason,
        "value": None,
        "threshold": failure.threshold or thresholds.get(failure.reason),
        "detail": failure.detail,
    }
