"""URLs whose spelling only traps have: grown paths, dates far ahead, endless lengths.

For the loop that fetches: hold each new link against `trap_in(url, year)` before it is added, and redirects'
targets too; what it gives is the outcome and its detail. What a trap's pages betray is in repetition.py.
3 µs a URL. A link for which `canonical` gives None because it is longer than it takes is a
`trap-url-length` as well.

The limits are such that no honest URL meets them; the tests try the spellings of usual software.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

URL_CHARACTERS = 2_048
"""Longer ones are not asked for. Sitemaps (protocol 0.9) may not list them either."""
SEGMENTS = 30
"""Of a path; source trees and the package names of Java have up to 20."""
REPETITIONS = 4
"""Of the same segments in a row, or of the same piece of a query."""
OCCURRENCES = 8
"""Of one segment anywhere in a path; nested `node_modules` have up to 5."""
YEARS_AHEAD = 10

CALENDAR = r"(?:calend[ae]r|calendario|calendrier|kalender)"
BELOW_CALENDAR = re.compile(CALENDAR, re.IGNORECASE)
YEAR_AND_MONTH = re.compile(r"[/_.-]([0-9]{4})[/_.-](?:0?[1-9]|1[0-2])(?![0-9])")
DATE_PIECE = re.compile(r"[?&]([^=&?]*)=([0-9]{4})-(?:0[1-9]|1[0-2])(?![0-9])")
DATE_NAME = re.compile("date|day|week|month|start|from", re.IGNORECASE)
YEAR_PIECE = re.compile(r"[?&](?:year|yr|y)=([0-9]{4})(?=&|\Z)", re.IGNORECASE)
MONTH_PIECE = re.compile(r"[?&](?:month|mon|m)=", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True)
class Trap:
    name: str
    """The outcome: trap-path, trap-calendar, trap-url-length; of repetition.py trap-chain, trap-duplicates,
    trap-session, soft-404."""
    detail: str


def trap_in(url: str, year: int) -> Trap | None:
    """What is wrong with a canonical URL. `year`: the crawl's own."""
    if len(url) > URL_CHARACTERS:
        return Trap("trap-url-length", f"{len(url)} characters")
    site, _, query = url.partition("?")
    segments = site.split("/")[3:]
    if len(segments) > SEGMENTS:
        return Trap("trap-path", f"{len(segments)} segments")
    if len(set(segments)) + 2 < len(segments) and (found := _repeated(segments)):
        return Trap("trap-path", found)
    if query.count("&") >= REPETITIONS - 1 and (found := _piled_up(query)):
        return Trap("trap-path", found)
    far = next((found for found in _years(url) if found > year + YEARS_AHEAD), None)
    return Trap("trap-calendar", f"the year {far}") if far else None


def _years(url: str) -> Iterator[int]:
    """Numbers that surely are years: below a calendar's name, in a parameter that is a date, beside a month.
    Anywhere else `/2050/10` may be the tenth page of something."""
    calendar = BELOW_CALENDAR.search(url)
    if calendar is not None:
        yield from map(int, YEAR_AND_MONTH.findall(url, calendar.end()))
    if "?" in url:
        yield from (int(found) for name, found in DATE_PIECE.findall(url) if DATE_NAME.search(name))
        if MONTH_PIECE.search(url):
            yield from map(int, YEAR_PIECE.findall(url))


def _repeated(segments: list[str]) -> str | None:
    """The same segments again and again. Numbers and single letters may: files are spread over such
    folders."""
    for length in range(1, len(segments) // REPETITIONS + 1):
        run = 0
        for place in range(length, len(segments)):
            run = run + 1 if segments[place] == segments[place - length] else 0
            unit = "/".join(segments[place - length + 1 : place + 1])
            if run >= (REPETITIONS - 1) * length and WORD.search(unit):
                return f"{unit!r} {REPETITIONS} times in a row"
    words = Counter(segment for segment in segments if WORD.search(segment))
    name, times = words.most_common(1)[0] if words else ("", 0)
    return f"{name!r} {times} times" if times >= OCCURRENCES else None


def _piled_up(query: str) -> str | None:
    piece, times = Counter(query.split("&")).most_common(1)[0]
    return f"{piece!r} {times} times in the query" if times >= REPETITIONS else None
