"""What is known of a corpus: counted file by file, added up, and put together for the page."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cards.cooccurrence import PeopleCounts
from pipeline.corpus.personal.matching import PLACEHOLDERS

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.cards.card import Described
    from pipeline.corpus.clean import Documents

LENGTH_BINS = 31
"""Of documents by their length, each twice as long as the one before; the last begins at a gigabyte."""
HOSTS_TOLD = 200
CURVE_POINTS = 60
"""Of the curve that says which share of the text the largest hosts have."""
LINES_TOLD = 20
"""Lines that sites repeat."""
OPT_OUTS = ("robots", "opt-out", "forgotten")
"""Outcomes of a crawl's URLs that were left alone because somebody asked for that."""
LICENCES_TOLD = 200

Sizes = defaultdict[str, Counter[str]]
"""Name → documents, bytes and tokens."""


def _sizes() -> Sizes:
    return defaultdict(Counter)


@dataclass
class Facts:
    """What was counted in files of documents."""

    sources: Sizes = field(default_factory=_sizes)
    """By source and kind, with a tab between them."""
    languages: Sizes = field(default_factory=_sizes)
    licences: Sizes = field(default_factory=_sizes)
    """As they are stated; empty if nothing is."""
    splits: Sizes = field(default_factory=_sizes)
    dropped: Sizes = field(default_factory=_sizes)
    """By reason."""
    years: Counter[str] = field(default_factory=Counter)
    """Documents by the year that they state."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Documents by the logarithm of their bytes, base 2, rounded down."""
    lengths_dropped: Counter[int] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    samples_dropped: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    people: dict[str, PeopleCounts] = field(default_factory=dict)
    """By language."""
    other_words: int = 0
    """Of languages without lists of words."""

    SIZED = ("sources", "languages", "licences", "splits", "dropped")
    COUNTED = ("years", "lengths", "lengths_dropped")

    def add(self, other: "Facts") -> None:
        for name in self.SIZED:
            for key, sizes in getattr(other, name).items():
                getattr(self, name)[key].update(sizes)
        for name in self.COUNTED:
            getattr(self, name).update(getattr(other, name))
        self.samples += other.samples
        self.other_words += other.other_words
        for reason, samples in other.samples_dropped.items():
            self.samples_dropped.setdefault(reason, []).extend(samples)
        for language, people in other.people.items():
            self.people.setdefault(language, PeopleCounts()).add(people)

    def as_json(self) -> dict[str, Any]:
        """As `of_json` reads it."""
        return {
            **{name: {key: dict(sizes) for key, sizes in getattr(self, name).items()} for name in self.SIZED},
            **{name: sorted(getattr(self, name).items()) for name in self.COUNTED},
            "samples": self.samples,
            "samples_dropped": self.samples_dropped,
            "other_words": self.other_words,
            "people": {language: people.as_json() for language, people in self.people.items()},
        }

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Facts":
        found = cls(
            samples=values["samples"],
            samples_dropped=values["samples_dropped"],
            other_words=values["other_words"],
            people={language: PeopleCounts.of_json(each) for language, each in values["people"].items()},
        )
        for name in cls.SIZED:
            getattr(found, name).update({key: Counter(sizes) for key, sizes in values[name].items()})
        for name in cls.COUNTED:
            getattr(found, name).update(dict(values[name]))
        return found


def gathered(described: "Described", facts: Facts, hosts: "pa.Table") -> dict[str, Any]:
    """All that the page shows, and `moinho corpus diff` compares. What is not known, since it is no longer in
    the store, is null."""
    documents = described.documents
    cleaned = documents.record.counts if documents is not None else {}
    kept: Counter[str] = sum((Counter(sizes) for sizes in facts.splits.values()), Counter())
    return {
        "artifacts": {
            "corpus": described.corpus.base,
            "tokens": described.tokens.base,
            "documents": documents.base if documents is not None else None,
        },
        "totals": {
            "pages": cleaned.get("pages"),
            "kept": cleaned.get("kept"),
            "dropped": None
            if documents is None
            else sum(sizes["documents"] for sizes in facts.dropped.values()),
            "documents": kept["documents"],
            "bytes": kept["bytes"],
            "tokens": kept["tokens"],
            "hosts": sum(count > 0 for count in hosts["documents"].to_pylist()),
            "languages": len(facts.languages),
            "words": facts.other_words + sum(people.words for people in facts.people.values()),
        },
        "splits": _ordered(facts.splits),
        "sources": [
            {"source": name.split("\t")[0], "kind": name.split("\t")[1], **sizes}
            for name, sizes in _ordered(facts.sources).items()
        ],
        "languages": _ordered(facts.languages),
        "licences": _most(_ordered(facts.licences)),
        "years": dict(sorted(facts.years.items())),
        "lengths": {
            "kept": [facts.lengths[number] for number in range(LENGTH_BINS)],
            "dropped": [facts.lengths_dropped[number] for number in range(LENGTH_BINS)],
        },
        "hosts": _hosts(hosts),
        "dropped": _ordered(facts.dropped, "documents") if documents is not None else None,
        "removed": {
            "lines": cleaned.get("removed-lines", 0),
            "paragraphs": cleaned.get("removed-paragraphs", 0),
        },
        "repeated_lines": _repeated_lines(described),
        "personal": _personal(documents),
        "opt_outs": _opt_outs(described),
        "people": {language: people.as_json() for language, people in sorted(facts.people.items())},
        "samples": facts.samples,
        "samples_dropped": dict(sorted(facts.samples_dropped.items())),
    }


def _ordered(sizes: Sizes, by: str = "bytes") -> dict[str, dict[str, int]]:
    """The largest first."""
    order = sorted(sizes, key=lambda name: (-sizes[name][by], name))
    return {name: dict(sizes[name]) for name in order}


def _hosts(hosts: "pa.Table") -> dict[str, Any]:
    """The largest hosts, and which share of the text the largest n have."""
    sizes = [size for size in hosts["bytes"].to_pylist() if size]
    whole, added, curve = sum(sizes), 0, []
    points = {round(len(sizes) ** (step / CURVE_POINTS)) for step in range(CURVE_POINTS + 1)}
    for number, size in enumerate(sizes, 1):
        added += size
        if number in points:
            curve.append([number, added / whole])
    return {"listed": len(hosts), "largest": hosts.slice(0, HOSTS_TOLD).to_pylist(), "curve": curve}


def _repeated_lines(described: "Described") -> list[dict[str, Any]]:
    """Of the lines that were taken out of pages those on most of them, without personal data."""
    paths = [] if described.documents is None else described.documents.paths("boilerplate/")
    if not paths:
        return []
    from pipeline.corpus.duplicates import connect
    from pipeline.corpus.privacy import PrivacyConfig, replace_personal

    with tempfile.TemporaryDirectory() as scratch, connect(Path(scratch)) as database:
        found = database.execute(
            "SELECT site, line, sum(pages)::BIGINT AS pages FROM read_parquet(?) GROUP BY site, line "
            "ORDER BY pages DESC, site, line LIMIT ?",
            [list(map(str, paths)), LINES_TOLD],
        ).fetchall()
    return [
        {"site": site, "line": replace_personal(line, PrivacyConfig())[0], "pages": pages}
        for site, line, pages in found
    ]


def _personal(documents: "Documents | None") -> dict[str, int | None] | None:
    """How often each kind was replaced; of one that was not looked for it is not known."""
    if documents is None:
        return None
    wanted = documents.config().get("privacy", {})
    counts = documents.record.counts
    return {
        kind: counts.get(f"personal.{kind}", 0) if wanted.get(kind, True) else None for kind in PLACEHOLDERS
    }


def _most(licences: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The most usual, and one for what is left."""
    names = list(licences)
    rest: Counter[str] = sum((Counter(licences[name]) for name in names[LICENCES_TOLD:]), Counter())
    others = {f"{len(names) - LICENCES_TOLD} others": dict(rest)} if rest else {}
    return {name: licences[name] for name in names[:LICENCES_TOLD]} | others


def _opt_outs(described: "Described") -> dict[str, int | None]:
    """What was left alone because somebody asked for that: URLs of the crawl, pages of archives. Null where
    it is not known."""
    pages, raw, documents = described.pages, described.raw, described.documents
    found: dict[str, int | None] = {}
    for name in OPT_OUTS if pages is not None or raw is None else ():
        found[f"crawl: {name}"] = None if pages is None else pages.counts.get(f"outcome.{name}", 0)
    found["archives: opt-out"] = None if raw is None else raw.record.counts.get("dropped.opt-out", 0)
    found["documents: forgotten"] = (
        None if documents is None else documents.record.counts.get("dropped.forgotten", 0)
    )
    return {name: count for name, count in found.items() if count != 0}
