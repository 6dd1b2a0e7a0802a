"""The Ray tasks of a data card: measure each shard in bounded memory, then add up and draw."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.cards.card import FACTS, HOSTS, PAGE, CardConfig, Described
from pipeline.cards.cooccurrence import WORD, PeopleCounts, count_people, languages, lexicon
from pipeline.cards.facts import LENGTH_BINS, Facts, gathered
from pipeline.corpus.forgotten import REASON as FORGOTTEN
from pipeline.corpus.privacy import PrivacyConfig, replace_personal
from pipeline.corpus.tables import outputs_of, read_documents, write_table
from pipeline.corpus.told_languages import primary
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, ShardRecord

READ = ("id", "source", "url", "title", "date", "licence", "kind", "text", "language")
READ_OF_DROPPED = ("id", "source", "url", "title", "text", "reason", "value", "threshold", "detail")
PAGE_ID = 32
"""Characters that an id has of its page."""
SAMPLE_CHARACTERS = 800
"""Of a document's text on the page."""
MEASURED, BY_HOST = "measured.json", "hosts.parquet"
HOST_COLUMNS = pa.schema(
    [
        ("host", pa.string()),
        ("documents", pa.int64()),
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),
        ("dropped", pa.int64()),
    ]
)
NO_YEAR = "not stated"


@dataclass(frozen=True)
class Measuring:
    """A file of the corpus, or of what was dropped on the way to it."""

    described: Described
    name: str
    """Its logical name, such as train/00003.parquet."""
    config: CardConfig


@dataclass(frozen=True)
class Drawing:
    """All that was measured."""

    attempt: Attempt
    described: Described
    measured: tuple[ShardRecord, ...]
    dropped: tuple[ShardRecord, ...]
    config: CardConfig


def measure(work: Measuring, output: ShardOutput) -> dict[str, int]:
    """Write the facts of one file of documents, and its hosts."""
    facts, hosts = Facts(), _Hosts()
    known = {language: lexicon(language) for language in languages()}
    people: defaultdict[str, PeopleCounts] = defaultdict(PeopleCounts)
    tokens = _tokens_of(work)
    for row in read_documents(work.described.corpus.path(work.name), READ):
        size, count = len(row["text"].encode()), tokens.get(row["id"], 0)
        for counted, name in (
            (facts.sources, f"{row['source']}\t{row['kind']}"),
            (facts.languages, row["language"]),
            (facts.licences, row["licence"] or ""),
            (facts.splits, work.name.partition("/")[0]),
        ):
            counted[name].update(documents=1, bytes=size, tokens=count)
        facts.years[row["date"][:4] if row["date"] else NO_YEAR] += 1
        facts.lengths[length_bin(size)] += 1
        hosts.add(host_or_source(row), size, count)
        facts.samples.append(_sample(row, ("language", "licence", "kind")))
        facts.samples = drawn(facts.samples, work.config.samples)
        if (language := primary(row["language"])) in known:
            count_people(row["text"], known[language], people[language])
        else:
            facts.other_words += len(WORD.findall(row["text"]))
    facts.people = dict(people)
    return _write(facts, hosts, output)


def measure_dropped(work: Measuring, output: ShardOutput) -> dict[str, int]:
    """Write the facts of one file of pages that were left out, and their hosts."""
    facts, hosts = Facts(), _Hosts()
    documents, privacy = work.described.documents, PrivacyConfig()
    assert documents is not None
    for row in read_documents(documents.path(work.name), READ_OF_DROPPED):
        size = len(row["text"].encode())
        facts.dropped[row["reason"]].update(documents=1, bytes=size)
        if size:
            facts.lengths_dropped[length_bin(size)] += 1
        if row["reason"] == FORGOTTEN:
            continue
        hosts.add_dropped(host_or_source(row))
        of_reason = facts.samples_dropped.setdefault(row["reason"], [])
        of_reason.append(_sample(row, ("value", "threshold", "detail")))
        facts.samples_dropped[row["reason"]] = drawn(of_reason, work.config.samples_dropped)
    # These were never cleaned, and the page may be passed on.
    for sample in (each for samples in facts.samples_dropped.values() for each in samples):
        for column in ("title", "text", "detail"):
            sample[column], _ = replace_personal(sample[column] or "", privacy)
    return _write(facts, hosts, output)


def draw(work: Drawing, output: ShardOutput) -> dict[str, int]:
    """Add up what was measured; write the facts, the hosts and the page."""
    from pipeline.cards.page import card_page

    facts = Facts()
    for path in _measured(work, MEASURED):
        facts.add(Facts.of_json(json.loads(path.read_bytes())))
    facts.samples = drawn(facts.samples, work.config.samples)
    for reason, samples in facts.samples_dropped.items():
        facts.samples_dropped[reason] = drawn(samples, work.config.samples_dropped)
    hosts = _added_up(_measured(work, BY_HOST))
    write_table(output.path(HOSTS), hosts)
    told = gathered(work.described, facts, hosts)
    output.path(FACTS).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    output.path(PAGE).write_text(card_page(told), encoding="utf-8")
    counted = {name: told["totals"][name] for name in ("documents", "hosts", "languages", "dropped")}
    return {name: count for name, count in counted.items() if count is not None}


def _measured(work: Drawing, name: str) -> Iterator[Path]:
    for record in (*work.measured, *work.dropped):
        yield from (path for path in outputs_of(work.attempt, [record]) if path.name == name)


class _Hosts:
    """Of one file: as many as it has."""

    def __init__(self) -> None:
        self._found: dict[str, list[int]] = {}

    def add(self, host: str, size: int, tokens: int) -> None:
        of_host = self._found.setdefault(host, [0, 0, 0, 0])
        of_host[0] += 1
        of_host[1] += size
        of_host[2] += tokens

    def add_dropped(self, host: str) -> None:
        self._found.setdefault(host, [0, 0, 0, 0])[3] += 1

    def table(self) -> pa.Table:
        columns = list(zip(*self._found.values(), strict=True)) or [(), (), (), ()]
        return pa.table([list(self._found), *map(list, columns)], schema=HOST_COLUMNS)


def _write(facts: Facts, hosts: _Hosts, output: ShardOutput) -> dict[str, int]:
    text = json.dumps(facts.as_json(), ensure_ascii=False)
    output.path(MEASURED).write_text(text, encoding="utf-8")
    write_table(output.path(BY_HOST), hosts.table())
    return {}


def _added_up(paths: Iterable[Path]) -> pa.Table:
    """A row for each host, the one with most bytes first."""
    tables = [pq.read_table(path) for path in paths]
    names = [name for name in HOST_COLUMNS.names if name != "host"]
    found = pa.concat_tables(tables) if tables else HOST_COLUMNS.empty_table()
    summed = found.group_by("host").aggregate([(name, "sum") for name in names])
    table = summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names])
    order = pc.sort_indices(table, sort_keys=[("bytes", "descending"), ("host", "ascending")])
    return table.take(order).select(HOST_COLUMNS.names)


def _tokens_of(work: Measuring) -> dict[str, int]:
    """Document → its tokens; the token files have the corpus's own shards."""
    name = work.name.removesuffix(".parquet") + ".documents.parquet"
    if name not in work.described.tokens.record.files:
        return {}
    table = pq.read_table(work.described.tokens.path(name), columns=["id", "tokens"])
    return dict(zip(table["id"].to_pylist(), table["tokens"].to_pylist(), strict=True))


def host_or_source(row: Mapping[str, Any]) -> str:
    """The host of a page, or the source of what is none."""
    try:
        parts = urlsplit(row["url"])
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    return host or str(row["source"])


def length_bin(size: int) -> int:
    """Documents of 2**n up to 2**(n + 1) bytes are counted together."""
    return min(LENGTH_BINS - 1, int(math.log2(max(1, size))))


def _sample(row: Mapping[str, Any], more: Iterable[str]) -> dict[str, Any]:
    text = row["text"].strip()
    cut = text if len(text) <= SAMPLE_CHARACTERS else text[:SAMPLE_CHARACTERS].rstrip() + " …"
    return {"id": row["id"], "url": row["url"], "title": row["title"], "text": cut} | {
        name: row[name] for name in more
    }


def drawn(samples: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """By chance, one of each page, and always the same: ids begin with a hash of the page, read backwards
    here, for of duplicates the smallest id is what is kept."""
    ordered = sorted(samples, key=lambda row: (row["id"][PAGE_ID - 1 :: -1], row["id"]), reverse=True)
    of_pages = {row["id"][:PAGE_ID]: row for row in ordered}  # the first part of each stays
    return list(reversed(of_pages.values()))[:count]
