"""The ingest stage's Ray tasks: take what is wanted out of one archive, then write the log of all."""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator
from scrapy.http import Headers, HtmlResponse

from crawler.cdxj import Index, local, target_of
from crawler.ingest import SOURCES, ArchiveChangedError, IngestConfig, NoArchiveError, Source
from crawler.line_sort import merge_lines, sort_lines
from crawler.markup import read_markup
from crawler.origins import product_token
from crawler.records import BEGINNING, Found, records
from crawler.responses import content_type, is_wanted, pairs, text_of
from crawler.scope import Scope
from crawler.urls import canonical, host_of
from crawler.warc import Archive, gzipped, spelled
from pipeline.corpus.forgotten import REASON as FORGOTTEN
from pipeline.corpus.forgotten import Forgotten, forgotten_in
from pipeline.corpus.http_download import download
from pipeline.corpus.opt_outs import opt_outs
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, File, sha256_of

KINDS = (
    *("warcinfo", "response", "resource", "request"),
    *("metadata", "revisit", "conversion", "continuation"),
)
"""Types of record (ISO 28500:2017, section 5.5); others are counted as `other`."""
OTHER_PACKING = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
REDIRECTS = (301, 302, 303, 307, 308)
TOLD_FAULTS = 1000
"""Damaged places of an archive that are written down."""

Line = dict[str, Any]
"""A line of the crawl log; while it is no more than a capture, a revisit's has `original` too."""


@dataclass(frozen=True)
class Part:
    """What the task gets that reads one archive."""

    attempt: Attempt
    source: Source
    config: IngestConfig
    agent: str
    """How moinho names itself where it fetches."""


@dataclass(frozen=True)
class Captured:
    """What the task gets that writes the log: what all archives hold."""

    attempt: Attempt
    captures: tuple[File, ...]
    archives: tuple[File, ...]
    index: File


def read_archive(part: Part, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: copy the records that are wanted to WARC files of moinho's own, and write a line
    for each capture, sorted by URL. Raises NoArchiveError, ArchiveChangedError or DownloadError."""
    source = part.source
    path = _local_file(part)
    digest = sha256_of(path)
    if not source.is_remote and digest != source.content:
        raise ArchiveChangedError(f"{path} has changed since this run began; run again when it is finished")
    forgotten = forgotten_in(part.attempt.storage)
    reading = Reading(source.name, part.config, output.folder, source.identity, part.agent, forgotten)
    sort_lines(reading.lines(path), output.path(f"captures/{source.identity}"))
    if not reading.kinds["response"] and not reading.kinds["revisit"]:
        raise _no_archive(source.place, path, reading)
    told: Line = {
        "place": source.place,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "records": dict(sorted(reading.kinds.items())),
        "damage": reading.faults[:TOLD_FAULTS],
    }
    output.path(f"archives/{source.identity}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    if source.is_remote:
        path.unlink()
    kinds = {f"records.{kind}": count for kind, count in told["records"].items()}
    return {"archives": 1, "captures": reading.captures, "damaged": len(reading.faults), **kinds}


def _local_file(part: Part) -> Path:
    if not part.source.is_remote:
        return Path(part.source.place)
    path = part.attempt.scratch() / part.source.identity
    download(part.source.place, path, part.agent)
    return path


class Reading:
    """One archive while it is read."""

    def __init__(
        self,
        name: str,
        config: IngestConfig,
        folder: Path,
        prefix: str,
        software: str,
        forgotten: Forgotten,
    ) -> None:
        self.kinds: Counter[str] = Counter()
        self.faults: list[Mapping[str, Any]] = []
        self.captures = 0
        self._name, self._judge = name, Judge(config, software, forgotten)
        self._folder, self._prefix, self._software = folder / "warc", prefix, software

    def lines(self, path: Path) -> Iterator[bytes]:
        """For every capture: URL, time and, as JSON, its line of the log. Records that are wanted are
        copied meanwhile."""
        archive = Archive(self._folder, self._prefix, self._software)
        for found in records(path):
            if found.fault is not None:
                self.faults.append({"offset": found.offset, "fault": found.fault})
                continue
            kind = found.headers.get("warc-type", "").lower()
            self.kinds[kind if kind in KINDS else "other"] += 1
            if kind in ("response", "revisit"):
                self.captures += 1
                yield self._line(found, kind, archive)
        archive.close()
        if not archive.offset:
            (self._folder / archive.name).unlink()

    def _line(self, found: Found, kind: str, archive: Archive) -> bytes:
        target = target_of(found.headers.get("warc-target-uri"))
        url = canonical(target)
        told = self._judge.judged(found, kind, url)
        date = found.headers.get("warc-date", "")
        line = _blank_line(url or target) | told | {"fetched": date}
        if told["outcome"] == "page" or "original" in told:
            place = archive.copy(found.member or gzipped(found.plain + b"\r\n\r\n"))
            line |= {"warc": f"warc/{place.warc}", "offset": place.offset, "length": place.length}
        line |= {"archive": self._name, "archive_offset": found.offset}
        return f"{spelled(url or target)} {_digits(date)} {json.dumps(line)}\n".encode()


class Judge:
    """Says what a capture is, by the configuration's filters."""

    def __init__(self, config: IngestConfig, agent: str, forgotten: Forgotten) -> None:
        self._config, self._agent, self._forgotten = config, product_token(agent), forgotten
        self._scope = Scope(config.allow, config.deny)

    def judged(self, found: Found, kind: str, url: str | None) -> Line:
        """The fields of its line that this decides."""
        if url is None:
            return {"outcome": "refused-scheme"}
        if (refusal := self._scope.refusal(url, host_of(url))) is not None:
            return {"outcome": "out-of-scope", "detail": refusal}
        if (rule := self._forgotten.rule_for(url)) is not None:
            return {"outcome": FORGOTTEN, "detail": rule}
        if found.is_cut:
            return {"outcome": "too-large"}
        if kind == "revisit":
            return {"outcome": "no-original", "original": _original(found.headers, url)}
        if "warc-truncated" in found.headers and not self._config.keep_truncated:
            return {"outcome": "truncated", "detail": found.headers["warc-truncated"]}
        try:
            return self._judged_response(found.plain, url)
        except Exception as error:
            # The reader raises what its decoders raise, of many types; all mean a damaged record.
            return {"outcome": "error", "detail": f"{type(error).__name__}: {error}"[:500]}

    def _judged_response(self, plain: bytes, url: str) -> Line:
        """Read as the extract stage will read it, judged as the crawl judges an answer."""
        record = next(iter(ArchiveIterator(io.BytesIO(plain), auto_decode="all", strict_mode=False)))
        http, config = record.http_headers, self._config
        if not record.is_http_parsed or http.status_code is None:
            return {"outcome": "not-http", "detail": record.headers.get("Content-Type")}
        headers = Headers()
        for name, value in http.items_bytes():
            headers.appendlist(name, [value])
        line: Line = {"status": http.status_code, "content_type": content_type(headers) or None}
        if http.status_code != 200:
            return line | {"outcome": "redirect" if http.status_code in REDIRECTS else "http-error"}
        body = record.reader.read(config.max_bytes + 1)
        if len(body) > config.max_bytes:
            return line | {"outcome": "too-large"}
        line |= {"bytes": len(body)}
        response = HtmlResponse(url, headers=headers, body=body)
        if not is_wanted(response, list(config.content_types)):
            return line | {"outcome": "not-html"}
        metas = read_markup(text_of(body, response)).metas
        reason = opt_outs(pairs(headers), metas, self._agent, url).forbids_storing(config.opt_outs)
        if reason is not None:
            return line | {"outcome": "opt-out", "detail": reason}
        return line | {"outcome": "page", "sha256": hashlib.sha256(body).hexdigest()}


def _original(headers: Mapping[str, str], url: str) -> Line:
    """What a revisit record says that it stands on (ISO 28500:2017, section 6.7)."""
    return {
        "url": canonical(target_of(headers.get("warc-refers-to-target-uri"))) or url,
        "date": _digits(headers.get("warc-refers-to-date", "")),
        "digest": headers.get("warc-payload-digest"),
    }


def _blank_line(url: str) -> Line:
    empty = ("status", "content_type", "bytes", "depth", "referrer", "warc", "offset", "length", "sha256")
    return {"url": url, "outcome": None, **dict.fromkeys(empty), "fetched": None, "detail": None}


def _digits(date: str) -> str:
    """14 digits of an ISO date, as CDX files have it."""
    return re.sub(r"\D", "", date)[:14]


def _no_archive(place: str, path: Path, reading: Reading) -> NoArchiveError:
    held = {kind: count for kind, count in reading.kinds.items() if kind != "warcinfo"}
    if held:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(held.items()))
        text = " (it is a WET file: text that was extracted already)" if "conversion" in held else ""
        return NoArchiveError(
            f"{place} has {told} records and no response{text}; name the WARC file that it was made from"
        )
    if reading.faults:
        fault = reading.faults[0]
        with path.open("rb") as file:
            start = file.read(8)
        packing = next((name for magic, name in OTHER_PACKING.items() if start.startswith(magic)), None)
        told = f"packed by {packing}; unpack it, or pack it by gzip" if packing else fault["fault"]
        begins = BEGINNING.decode()
        return NoArchiveError(
            f"{place}, offset {fault['offset']:,}: {told}; a WARC file begins with {begins}"
        )
    return NoArchiveError(
        f"{place} is empty, or has no record but its own description; name a file with responses"
    )


def write_log(captured: Captured, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: the crawl log of all archives, a line for each URL, and the list of archives."""
    with output.path(SOURCES).open("wb") as lines:
        for file in captured.archives:
            lines.write(local(captured.attempt, file).read_bytes())
    merged = output.path("captures")
    merge_lines([local(captured.attempt, file) for file in captured.captures], merged)
    outcomes: Counter[str] = Counter()
    index = local(captured.attempt, captured.index)
    with (
        merged.open("rb") as captures,
        Index(index) as archive,
        output.path("crawl-log/00.jsonl").open("w", encoding="utf-8") as log,
    ):
        for line in logged(captures, archive):
            outcomes[line["outcome"]] += 1
            log.write(json.dumps(line, ensure_ascii=False) + "\n")
    merged.unlink()
    counts = {f"outcome.{name}": count for name, count in sorted(outcomes.items())}
    return {"pages": outcomes["page"], "tried": outcomes.total(), "left": 0, **counts}


def logged(captures: Iterable[bytes], archive: Index) -> Iterator[Line]:
    """A line of the log for each URL: its latest page, or else its latest capture."""
    for _, group in groupby(captures, key=lambda line: line.partition(b" ")[0]):
        lines = [json.loads(line.split(b" ", 2)[2]) for line in group]
        settled = [_with_original(line, lines, archive) for line in lines]
        yield max(
            [line for line in settled if line["outcome"] == "page"] or settled,
            key=lambda line: (line["fetched"], line["warc"] or "", line["offset"] or 0),
        )


def _with_original(line: Line, beside: list[Line], archive: Index) -> Line:
    """A revisit becomes a page whose body lies where its original does, if that is in the archives."""
    if "original" not in line:
        return line
    original = line["original"]
    line = {name: value for name, value in line.items() if name != "original"}
    for capture in archive.captures(original["url"]):
        if capture.mime == "warc/revisit":
            continue
        same = capture.digest == original["digest"] if original["digest"] else False
        if not same and not (original["date"] and capture.timestamp == original["date"]):
            continue
        place = {"warc": f"warc/{capture.filename}", "offset": capture.offset, "length": capture.length}
        known = next((each for each in beside if place.items() <= each.items()), {})
        taken = {name: known[name] for name in ("bytes", "sha256") if name in known}
        return line | {"outcome": "page", "content_type": capture.mime} | place | taken
    return line
