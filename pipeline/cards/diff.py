"""Two corpora side by side: what their cards say, and which pages they share."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.cards.card import HOSTS, DataCard
from pipeline.cards.cooccurrence import PeopleCounts
from pipeline.cards.page import FEMALE, GENDER, MALE, NAME_CHARACTERS, note, short
from pipeline.corpus.duplicates import connect
from pipeline.corpus.hold_out import Corpus
from pipeline.store.artifacts import NotMadeError
from pipeline.tracking.report_pages import table, whole_page

SECTIONS = ("totals", "languages", "sources", "hosts", "dropped", "licences", "personal", "people")
MOST = 15
"""Names of each section: those that are large in the one or the other."""
EXAMPLES = 5
"""URLs of each kind of difference."""


@dataclass(frozen=True)
class Row:
    """A figure of both."""

    section: str
    name: str
    first: float
    second: float
    unit: str
    """`count`, or `share` of 1, or `rate` for a million words."""


@dataclass(frozen=True)
class Overlap:
    """Pages by their URL."""

    same: int
    """In both, read with the same text, whatever cleaning made of it."""
    changed: int
    """In both, read with another text."""
    only_first: int
    only_second: int
    examples: Mapping[str, tuple[str, ...]]
    """`changed`, `only_first` and `only_second` → some URLs, the first by the alphabet."""


def compared(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Row]:
    """The figures of two cards, by section; of long lists the names that are largest in either."""
    found: list[Row] = []
    for name in first["totals"]:
        one, other = (card["totals"][name] or 0 for card in (first, second))
        found.append(Row("totals", name, one, other, "count"))
    both = (first, second)
    for section, values in (
        ("languages", [_shares(card["languages"], "bytes") for card in both]),
        ("sources", [_shares(_by_source(card), "bytes") for card in both]),
        ("hosts", [_hosts(card) for card in both]),
        ("dropped", [_of_pages(card) for card in both]),
        ("licences", [_shares(card["licences"], "documents", empty="none stated") for card in both]),
    ):
        found += _rows(section, values[0], values[1], "share")
    found += _rows("personal", _personal(first), _personal(second), "rate")
    found += _rows("people", _people(first), _people(second), "share")
    return found


def with_hosts_of_both(first: DataCard, second: DataCard) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of both; of the largest hosts of either each has its figures, also where it is small."""
    both = first.facts(), second.facts()
    names = [each["host"] for card in both for each in card["hosts"]["largest"][:MOST]]
    for card, facts in zip((first, second), both, strict=True):
        table = pq.read_table(card.path(HOSTS), filters=pc.field("host").isin(names))
        facts["hosts"]["largest"] = table.to_pylist()
    return both


def _rows(section: str, first: Mapping[str, float], second: Mapping[str, float], unit: str) -> Iterator[Row]:
    names = sorted({*first, *second}, key=lambda name: (-max(first.get(name, 0), second.get(name, 0)), name))
    for name in names[:MOST]:
        yield Row(section, name, first.get(name, 0), second.get(name, 0), unit)


def _shares(sizes: Mapping[str, Mapping[str, int]], by: str, empty: str = "") -> dict[str, float]:
    whole = sum(each[by] for each in sizes.values())
    return {name or empty: each[by] / whole for name, each in sizes.items() if whole}


def _by_source(card: Mapping[str, Any]) -> dict[str, Mapping[str, int]]:
    return {f"{each['source']} ({each['kind']})": each for each in card["sources"]}


def _hosts(card: Mapping[str, Any]) -> dict[str, float]:
    whole = max(1, card["totals"]["bytes"])
    return {each["host"]: each["bytes"] / whole for each in card["hosts"]["largest"]}


def _of_pages(card: Mapping[str, Any]) -> dict[str, float]:
    pages = card["totals"]["pages"] or 1
    return {reason: sizes["documents"] / pages for reason, sizes in (card["dropped"] or {}).items()}


def _personal(card: Mapping[str, Any]) -> dict[str, float]:
    words = card["totals"]["words"]
    found = card["personal"] or {}
    return {kind: count / words * 1e6 for kind, count in found.items() if words and count is not None}


def _people(card: Mapping[str, Any]) -> dict[str, float]:
    """Of the words of gender those for women, by language."""
    found = {}
    for language, values in card["people"].items():
        groups = PeopleCounts.of_json(values).groups
        female, male = groups[GENDER, FEMALE], groups[GENDER, MALE]
        if female + male:
            found[f"words for women among those of gender, {language}"] = female / (female + male)
    return found


def overlap(first: Corpus, second: Corpus) -> Overlap:
    """Pages of both corpora, joined by URL on disk; a page's parts count as one. Raises NotMadeError."""
    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        for name, corpus in (("first", first), ("second", second)):
            paths = [str(path) for split in ("train/", "held-out/") for path in corpus.paths(split)]
            if not paths:
                raise NotMadeError(f"{corpus.base} has no documents: run its flow again")
            database.execute(
                f"CREATE TABLE {name} AS SELECT url, string_agg(DISTINCT page_id, ' ' ORDER BY page_id) "
                "AS text FROM read_parquet(?) GROUP BY url",
                [paths],
            )
        database.execute(
            "CREATE TABLE pages AS SELECT url, CASE WHEN first.text IS NULL THEN 'only_second' "
            "WHEN second.text IS NULL THEN 'only_first' WHEN first.text = second.text THEN 'same' "
            "ELSE 'changed' END AS state FROM first FULL JOIN second USING (url)"
        )
        counts = dict(database.execute("SELECT state, count(*) FROM pages GROUP BY state").fetchall())
        examples = {
            state: tuple(
                url
                for (url,) in database.execute(
                    "SELECT url FROM pages WHERE state = ? ORDER BY url LIMIT ?", [state, EXAMPLES]
                ).fetchall()
            )
            for state in ("changed", "only_first", "only_second")
        }
    return Overlap(
        counts.get("same", 0),
        counts.get("changed", 0),
        counts.get("only_first", 0),
        counts.get("only_second", 0),
        examples,
    )


def shown(row: Row, value: float) -> str:
    """A figure as it is written."""
    match row.unit:
        case "share":
            return f"{value:.1%}"
        case "rate":
            return f"{value:,.1f}"
    return f"{value:,.0f}"


def change(row: Row) -> str:
    """From the first to the second: of counts as a share, of shares in points."""
    match row.unit:
        case "share":
            return f"{100 * (row.second - row.first):+.1f} points" if row.first != row.second else ""
        case "rate":
            return f"{row.second - row.first:+,.1f}" if row.first != row.second else ""
    return f"{row.second / row.first - 1:+.1%}" if row.first and row.first != row.second else ""


MEANINGS = {
    "totals": "In all",
    "languages": "Languages, by bytes",
    "sources": "Sources, by bytes",
    "hosts": "Hosts, by bytes",
    "dropped": "Left out, of all pages that were read",
    "licences": "Licences, by documents",
    "personal": "Personal data, for a million words",
    "people": "People",
}


def states(shared: Overlap, one: str, other: str) -> list[tuple[str, int, tuple[str, ...]]]:
    """What pages may be, in words, with their number and some URLs."""
    return [
        ("in both, read with the same text", shared.same, ()),
        ("in both, read with another text", shared.changed, shared.examples["changed"]),
        (f"only in {one}", shared.only_first, shared.examples["only_first"]),
        (f"only in {other}", shared.only_second, shared.examples["only_second"]),
    ]


def diff_page(
    names: tuple[str, str], rows: list[Row], shared: Overlap, cards: tuple[DataCard, DataCard]
) -> str:
    """The whole file."""
    one, other = names
    parts = ["<h1>Two corpora</h1>", note(f"{one} is {cards[0].base}, {other} is {cards[1].base}.")]
    parts.append("<h2>Pages, by their URL</h2>")
    told = [(name, f"{count:,}", " ".join(examples)) for name, count, examples in states(shared, one, other)]
    parts.append(table(("", "pages", "some of them"), told))
    for section in SECTIONS:
        own = [row for row in rows if row.section == section]
        if own:
            shown_rows = [
                (short(row.name, NAME_CHARACTERS), shown(row, row.first), shown(row, row.second), change(row))
                for row in own
            ]
            parts += [f"<h2>{MEANINGS[section]}</h2>", table(("", one, other, "change"), shown_rows)]
    return whole_page(f"{one} and {other}", parts)
