"""What is known of a corpus: counted file by file, added up, and put together for the page."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.cards.cooccurrence import PeopleCounts

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.cards.card import Described

LENGTH_BINS = 31
"""Of documents by their length, each twice as long as the one before; the last begins at a gigabyte."""
HOSTS_TOLD = 200
CURVE_POINTS = 60
"""Of the curve that says which share of the text the largest hosts have."""
LINES_TOLD = 20
"""Lines that sites repeat."""
OPT_OUTS = ("robots", "robots-unreachable", "opt-out", "forgotten")
"""Outcomes of a crawl's URLs that were left alone because somebody asked for that."""

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

    SIZED = ("sources", "languages", "licences", "splits", "dropped")
    COUNTED = ("years", "lengths", "lengths_dropped")

    def add(self, other: "Facts") -> None:
        for name in self.SIZED:
            for key, sizes in getattr(other, name).items():
                getattr(self, name)[key].update(sizes)
        for name in self.COUNTED:
            getattr(self, name).update(getattr(other, name))
        self.samples += other.samples
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
            "people": {language: people.as_json() for language, people in self.people.items()},
        }

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> "Facts":
        found = cls(
            samples=values["samples"],
            samples_dropped=values["samples_dropped"],
            people={language: PeopleCounts.of_json(each) for language, each in values["people"].items()},
        )
        for name in cls.SIZED:
            getattr(found, name).update({key: Counter(sizes) for key, sizes in values[name].items()})
        for name in cls.COUNTED:
            getattr(found, name).update(dict(values[name]))
        return found


def gathered(described: "Described", facts: Facts, hosts: "pa.Table") -> dict[str, Any]:
    """All that the page shows, and `moinho corpus diff` compares."""
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
            "pages": cleaned.get("pages", 0),
            "kept": cleaned.get("kept", 0),
            "dropped": sum(sizes["documents"] for sizes in facts.dropped.values()),
            "documents": kept["documents"],
            "bytes": kept["bytes"],
            "tokens": kept["tokens"],
            "hosts": sum(count > 0 for count in hosts["documents"].to_pylist()),
            "languages": len(facts.languages),
            "words": sum(people.words for people in facts.people.values()),
        },
        "splits": _ordered(facts.splits),
        "sources": [
            {"source": name.split("\t")[0], "kind": name.split("\t")[1], **sizes}
            for name, sizes in _ordered(facts.sources).items()
        ],
        "languages": _ordered(facts.languages),
        "licences": _ordered(facts.licences),
        "years": dict(sorted(facts.years.items())),
        "lengths": {
            "kept": [facts.lengths[number] for number in range(LENGTH_BINS)],
            "dropped": [facts.lengths_dropped[number] for number in range(LENGTH_BINS)],
        },
        "hosts": _hosts(hosts),
        "dropped": _ordered(facts.dropped, "documents"),
        "removed": {
            "lines": cleaned.get("removed-lines", 0),
            "paragraphs": cleaned.get("removed-paragraphs", 0),
        },
        "repeated_lines": _repeated_lines(described),
        "personal": {
            name.removeprefix("personal."): count
            for name, count in sorted(cleaned.items())
            if name.startswith("personal.")
        },
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
    return {"largest": hosts.slice(0, HOSTS_TOLD).to_pylist(), "curve": curve}


def _repeated_lines(described: "Described") -> list[dict[str, Any]]:
    """Of the lines that were taken out of pages those on most of them."""
    if described.documents is None:
        return []
    from pipeline.corpus.tables import read_documents

    pages: Counter[tuple[str, str]] = Counter()
    for path in described.documents.paths("boilerplate/"):
        here = Counter({(row["site"], row["line"]): row["pages"] for row in read_documents(path)})
        pages.update(dict(heapq.nlargest(10 * LINES_TOLD, here.items(), key=lambda each: each[1])))
    return [
        {"site": site, "line": line, "pages": count} for (site, line), count in pages.most_common(LINES_TOLD)
    ]


def _opt_outs(described: "Described") -> dict[str, int]:
    """What was left alone because somebody asked for that: URLs of the crawl, pages of archives."""
    crawled = described.pages.counts if described.pages is not None else {}
    found = {f"crawl: {name}": crawled.get(f"outcome.{name}", 0) for name in OPT_OUTS}
    read = described.raw.record.counts if described.raw is not None else {}
    cleaned = described.documents.record.counts if described.documents is not None else {}
    found["archives: opt-out"] = read.get("dropped.opt-out", 0)
    found["documents: forgotten"] = cleaned.get("dropped.forgotten", 0)
    return {name: count for name, count in found.items() if count}
