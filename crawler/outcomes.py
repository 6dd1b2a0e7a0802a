"""What can become of a URL: each outcome by its name in the crawl log, what it means and what to do."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.corpus.pages import KEPT as PAGES
from pipeline.corpus.pages import STORED

KEPT, PASSED, REFUSED, TRAP, ERROR = "kept", "passed", "refused", "trap", "error"
"""Kinds of outcomes: a page that the crawl has; a right answer that is no page; a URL that was not
asked for, or may not be used; one of an endless family; an answer that did not come or was no good."""


@dataclass(frozen=True)
class Meaning:
    """An outcome in words."""

    kind: str
    told: str
    advice: str | None = None
    """What whoever wants the page can do; None where there is nothing to mend."""


SERVER = "It lies with the server. A later crawl (another crawl.snapshot) asks again."
OUTCOMES: dict[str, Meaning] = {
    "page": Meaning(KEPT, "stored as a page"),
    "changed": Meaning(KEPT, "stored as a page, as it is another than in the earlier crawl"),
    "unchanged": Meaning(KEPT, "unchanged since the earlier crawl, whose copy is used"),
    "not-due": Meaning(KEPT, "in the earlier crawl, whose copy is used: it was not yet time to ask again"),
    "redirect": Meaning(PASSED, "leads to another URL, which is a URL of its own"),
    "sitemap": Meaning(PASSED, "a list of pages, which are seeds as well"),
    "not-html": Meaning(
        PASSED, "is not of a wanted content type", "Add its content type to crawl.content_types."
    ),
    "not-http": Meaning(PASSED, "archived from something else than HTTP"),
    "gone": Meaning(PASSED, "was there in the earlier crawl and is not any more"),
    "robots": Meaning(
        REFUSED, "forbidden by robots.txt", "Only the site can allow it; robots.txt is always obeyed."
    ),
    "robots-unreachable": Meaning(
        REFUSED,
        "its robots.txt could not be read, which forbids the host for as long (RFC 9309, section 2.3.1.4)",
        "It lies with the server, not with its rules. A later crawl (another crawl.snapshot) asks again.",
    ),
    "opt-out": Meaning(
        REFUSED,
        "the page asks not to be used",
        "Only the site can allow it; crawl.opt_outs has a setting for each kind.",
    ),
    "forgotten": Meaning(
        REFUSED,
        "to be left out: somebody asked for that",
        "Nothing, unless the request was taken back: moinho forget --take-back.",
    ),
    "refused-address": Meaning(
        REFUSED, "at an address that is never asked", "Name the host in crawl.private_hosts if it is meant."
    ),
    "refused-scheme": Meaning(REFUSED, "neither http nor https"),
    "out-of-scope": Meaning(
        REFUSED, "not among the URLs that are wanted", "Widen `allow`, or narrow `deny`."
    ),
    "host-limit": Meaning(
        REFUSED,
        "its host has given as much as is wanted of one",
        "Raise crawl.pages_per_host or crawl.bytes_per_host.",
    ),
    "given-up": Meaning(REFUSED, "its host failed again and again, and was given up", SERVER),
    "redirect-loop": Meaning(TRAP, "redirects without an end", SERVER),
    "trap-url-length": Meaning(TRAP, "longer than any URL that is asked for"),
    "soft-404": Meaning(TRAP, "says in words, not by its status, that there is no such page"),
    "http-error": Meaning(ERROR, "answered with an error", SERVER),
    "unreachable": Meaning(ERROR, "could not be reached", "See that the address is right, then crawl again."),
    "timeout": Meaning(ERROR, "took too long", "Raise crawl.timeout_seconds."),
    "too-large": Meaning(ERROR, "larger than is wanted", "Raise crawl.max_bytes."),
    "decompression-bomb": Meaning(
        ERROR, "a small body that unpacks to a huge one", "Nothing is to be mended; crawl.deny spares asking."
    ),
    "broken-compression": Meaning(ERROR, "packed otherwise than its header says", SERVER),
    "broken-chunks": Meaning(ERROR, "its chunked body was broken", SERVER),
    "wrong-length": Meaning(ERROR, "shorter than its Content-Length", SERVER),
    "broken-http": Meaning(ERROR, "answered what is no HTTP", SERVER),
    "no-answer": Meaning(ERROR, "the connection ended without an answer", SERVER),
    "tls-error": Meaning(ERROR, "no secure connection came about", SERVER),
    "truncated": Meaning(
        ERROR, "cut off by whoever archived it", "Set ingest.keep_truncated to take what there is."
    ),
    "no-original": Meaning(
        ERROR, "a revisit of a page that is in none of the archives", "Ingest that archive together with it."
    ),
    "error": Meaning(ERROR, "no answer that could be understood", SERVER),
}
RECRAWLED = ("unchanged", "not-due", "changed", "gone")
"""Outcomes that only a page of an earlier crawl can have."""
IS_PAGE, IS_STORED = (f"outcome IN {tuple(sorted(names))}" for names in (PAGES, STORED))
"""Conditions on a row of a frontier's `visits`: the crawl has the page; its own archive has it."""
TRAP_PREFIX = "trap-"
A_TRAP = Meaning(TRAP, "one of an endless family of URLs", "Add the URL to crawl.seeds if it is meant.")
UNKNOWN = Meaning(ERROR, "not known to this version")


def meaning_of(outcome: str) -> Meaning:
    """Traps have names of their own, which all begin alike, and mostly mean the same."""
    return OUTCOMES.get(outcome, A_TRAP if outcome.startswith(TRAP_PREFIX) else UNKNOWN)


def pages_in(outcomes: Mapping[str, int]) -> int:
    """How many of the URLs are pages that the crawl has, whether they were asked for or taken over."""
    return sum(outcomes.get(name, 0) for name in PAGES)


def recrawled(outcomes: Mapping[str, int]) -> Counter[str]:
    """What became of pages that an earlier crawl has; empty if there was none."""
    return Counter({name: outcomes[name] for name in RECRAWLED if outcomes.get(name)})


def compared(outcomes: Mapping[str, int]) -> Counter[str]:
    """The same, and how many pages are new beside them."""
    known = recrawled(outcomes)
    return known + Counter(new=outcomes.get("page", 0)) if known else known


def of_kind(outcomes: Mapping[str, int], *kinds: str) -> Counter[str]:
    """Those outcomes that are of one of the kinds."""
    return Counter(
        {name: count for name, count in outcomes.items() if count and meaning_of(name).kind in kinds}
    )
