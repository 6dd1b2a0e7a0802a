"""What repeats itself: families of pages in which nothing new comes any more, parts of URLs that make no
difference, pages that are no more than "not found".

For the loop that fetches, all of one partition:

    traps = Traps(frontier.db, year)                # before its first transaction; then within them
    trap = traps.refusal(url)                       # before a URL is asked for: traps.py, and what was learnt
    seen = traps.saw_page(url, visible_text(html))  # for each page with status 200, before it is stored
    traps.saw_chain(url)                            # when redirects that began here were given up

A trap's name is the outcome, its detail goes to the crawl log. `seen.trap` (soft-404): the page is not
stored, its links are left. `seen.probe`: a URL that the host cannot have; ask for it like for a page
(robots.txt, delays), and tell what came by `traps.probed`. What was learnt lies in TABLES of the
frontier's file, keyed by host name, so that it survives a kill and follows its host to another partition;
in memory is only what is closed. A page costs a row of some 40 bytes. Microseconds: `refusal` 3, once
anything is closed 7; `saw_page` 30 and 10 for each 10 kB of text, 200 for each 10 kB below a date.

How a family is told to be a trap: its members (`shape_of`: only numbers differ) come without a text that
is new on this host, BARREN of them in a row and REPEATED times as many as brought something. So a family
of which one page in ten has something to say goes on. What that costs an honest site: of pages that show
the same text again and again (galleries without captions, profiles without a profile) later ones are left.
What is not found: a generator that writes a new text for each URL, or puts the time on each page. Only the
limits of pages and bytes per host end that.
"""

import re
import sqlite3
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import unquote

from crawler.traps import CALENDAR, Trap, trap_in
from crawler.urls import host_of, shape_of

BARREN = 64
BARREN_BELOW = 32
"""For pages that are the same as the one at the beginning of their path, for which one reason alone is
likely: the server does not look at the rest of it."""
REPEATED = 4
CHAINS = 8
"""Chains of redirects in a family that were given up, after which the rest of it is left."""
PROBE_DUPLICATES = 3
"""Pages of a host with the text of another, or one that speaks of NOT_FOUND, before it is asked for a page
that it cannot have."""
SESSION_PAGES = 8
"""Pages, each with a text of its own, that stayed the same although a part of their URL changed; each one
that changed too calls for as many more."""
ONCE = 50_000
"""Families of one page so far that are remembered in memory; the second page makes a row of them."""
TRACKED = 16
"""Parts of a host's URLs that are watched."""

DATED = re.compile(
    r"(?<![0-9])(?:[12][0-9]{3}[/_.-](?:0?[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])[/_.-][12][0-9]{3})(?![0-9])"
    rf"|{CALENDAR}|agenda|\b(?:month|week|year|date|day)=",
    re.IGNORECASE,
)
NUMBER = re.compile(r"[0-9]+")
NUMBERS = re.compile(r"([0-9]+)")
NOT_FOUND = re.compile(
    r"\b404\b|not (?:be )?found|does(?: not|n.t) exist|no longer|n.o (?:foi )?encontrad|no (?:se )?encontr"
    "|introuvable|nicht gefunden|non trovat",
    re.IGNORECASE,
)
"""In the first words of a page that may be no page. It decides nothing, but whether the host is asked."""
OPAQUE = re.compile(r"(?:(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_~-]{8,}|[0-9]{8,})\Z")
"""What nobody typed."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS trap_texts (
    host TEXT, print INTEGER, first INTEGER, PRIMARY KEY (host, print)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trap_families (
    host TEXT, family INTEGER, novel INTEGER, run INTEGER, closed TEXT, PRIMARY KEY (host, family)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trap_closed ON trap_families (host) WHERE closed IS NOT NULL;
CREATE INDEX IF NOT EXISTS trap_below ON trap_families (host) WHERE family < 0;
CREATE TABLE IF NOT EXISTS trap_hosts (
    host TEXT PRIMARY KEY, duplicates INTEGER NOT NULL DEFAULT 0, probed INTEGER NOT NULL DEFAULT 0,
    missing INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trap_parts (
    host TEXT, name TEXT, same INTEGER, different INTEGER, PRIMARY KEY (host, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trap_values (
    host TEXT, name TEXT, page INTEGER, value INTEGER, print INTEGER, PRIMARY KEY (host, name, page)
) WITHOUT ROWID;
"""
TABLES = ("trap_texts", "trap_families", "trap_hosts", "trap_parts", "trap_values")
"""To be copied, by their column `host`, when hosts move to another partition."""
COUNT = """
INSERT INTO trap_families (host, family, novel, run) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (host, family) DO UPDATE SET
    novel = novel + excluded.novel, run = CASE WHEN excluded.novel THEN 0 ELSE run + excluded.run END
RETURNING novel, run
"""
MET = """
INSERT INTO trap_hosts (host, duplicates) VALUES (?, 1)
ON CONFLICT (host) DO UPDATE SET duplicates = duplicates + 1
"""
PROBED = """
INSERT INTO trap_hosts (host, probed, missing) VALUES (?1, 1, ?2)
ON CONFLICT (host) DO UPDATE SET probed = 1, missing = ?2
"""
OF_PAGE = "host = ? AND name = ? AND page = ?"


@dataclass(frozen=True)
class Seen:
    """What a page was."""

    trap: Trap | None = None
    duplicate: bool = False
    """Its text was seen on this host before."""
    probe: str | None = None
    """A URL to ask for, to learn what this host sends for pages that it does not have."""


class Traps:
    """What was learnt of a partition's hosts. Changes wait for the frontier's commit."""

    def __init__(self, db: sqlite3.Connection, year: int) -> None:
        """Makes its tables if need be, for which no transaction may be open. `year`: the crawl's own."""
        self._db, self._year = db, year
        db.executescript(SCHEMA)
        self._closed: dict[str, dict[int, str]] = {}
        """Families that are left, with the trap's name."""
        closed = "SELECT host, family, closed FROM trap_families WHERE closed IS NOT NULL"
        for host, family, name in db.execute(closed):
            self._closed.setdefault(host, {})[family] = name
        self._ignoring = {
            host for (host,) in db.execute("SELECT DISTINCT host FROM trap_families WHERE family < 0")
        }
        """Hosts on which a page was found to be the same as the one at the beginning of its path."""
        self._sessions: dict[str, set[str]] = {}
        """Parts of URLs that make no difference."""
        for host, name, same, different in db.execute("SELECT * FROM trap_parts WHERE same > 0"):
            if _is_session(same, different):
                self._sessions.setdefault(host, set()).add(name)
        self._once: OrderedDict[tuple[str, int], bool] = OrderedDict()

    def refusal(self, url: str) -> Trap | None:
        """Why a URL is not to be asked for; None if it is."""
        trap = trap_in(url, self._year)
        if trap is not None:
            return trap
        if not self._closed and not self._sessions:
            return None
        host = host_of(url)
        closed = self._closed.get(host)
        if closed is not None:
            for family, what in [(family_of(url), shape_of(url)), *_beginnings(url)]:
                if family in closed:
                    return Trap(closed[family], f"nothing new came from pages such as {what}")
        for name, value, page in _opaque(url) if host in self._sessions else ():
            if name in self._sessions[host] and self._value(host, name, page) not in (None, value):
                return Trap("trap-session", f"{name!r} makes no difference here, and the page is known")
        return None

    def saw_page(self, url: str, text: str) -> Seen:
        """A page came, of which `text` is visible."""
        host, place, page = host_of(url), _print(url.partition("//")[2]), _print(text)
        row = self._db.execute("SELECT probed, missing FROM trap_hosts WHERE host = ?", (host,)).fetchone()
        probed, missing = row or (0, None)
        if missing is not None and missing == _template(url, text) and not _is_root(url):
            self._count(url, host, novel=False, name="soft-404")
            return Seen(Trap("soft-404", "the host sends the same for a page that cannot be there"))
        first = self._first(host, page, place)
        if first == place:
            return Seen()  # asked again
        novel, dated = first is None, DATED.search(url) is not None
        if novel and dated:
            print_ = _print(f"{family_of(url)} {_without_dates(url, text)}")
            novel = self._first(host, print_, place) is None
        self._count(url, host, novel=novel, name="trap-calendar" if dated else "trap-duplicates")
        self._count_below(url, host, first)
        self._compare(url, host, page, is_new=first is None)
        if first is None:
            doubtful = not probed and NOT_FOUND.search(text[:300]) is not None
            return Seen(probe=probe_of(url) if doubtful else None)
        ((duplicates,),) = self._db.execute(f"{MET} RETURNING duplicates", (host,)).fetchall()
        wanted = not probed and duplicates >= PROBE_DUPLICATES
        return Seen(duplicate=True, probe=probe_of(url) if wanted else None)

    def probed(self, probe: str, status: int, text: str) -> None:
        """What the host sent for `Seen.probe`; any status but 200 (0 for no answer) tells nothing more."""
        missing = _template(probe, text) if status == 200 else None
        self._db.execute(PROBED, (host_of(probe), missing))

    def saw_chain(self, url: str) -> None:
        """Redirects that began at this URL led on and on, or round and round."""
        self._count(url, host_of(url), novel=False, name="trap-chain", weight=BARREN // CHAINS)

    # --- families ---

    def _count(self, url: str, host: str, *, novel: bool, name: str, weight: int = 1) -> None:
        if shape_of(url) == url.partition("//")[2]:
            return  # a family of its own
        family = family_of(url)
        key = (host, family)
        if key in self._once:
            before = self._once.pop(key)
            self._db.execute(COUNT, (host, family, int(before), 0 if before else weight)).fetchall()
        elif not self._known(host, family):
            self._once[key] = novel
            if len(self._once) > ONCE:
                self._once.popitem(last=False)
            return
        self._add(host, family, novel=novel, weight=weight, name=name, barren=BARREN)

    def _known(self, host: str, family: int) -> bool:
        select = "SELECT 1 FROM trap_families WHERE host = ? AND family = ?"
        return self._db.execute(select, (host, family)).fetchone() is not None

    def _add(self, host: str, family: int, *, novel: bool, weight: int, name: str, barren: int) -> None:
        row = (host, family, int(novel), 0 if novel else weight)
        ((good, run),) = self._db.execute(COUNT, row).fetchall()
        if run >= max(barren, REPEATED * good) and family not in self._closed.get(host, ()):
            self._closed.setdefault(host, {})[family] = name
            update = "UPDATE trap_families SET closed = ? WHERE host = ? AND family = ?"
            self._db.execute(update, (name, host, family))

    def _count_below(self, url: str, host: str, first: int | None) -> None:
        """Is the page the same as the one at the beginning of its path? Then likely all below are."""
        if first is None and host not in self._ignoring:
            return
        for family, path in _beginnings(url):
            if first is not None and first in (_print(path), _print(f"{path}/")):
                self._ignoring.add(host)
                self._add(host, family, novel=False, weight=1, name="trap-path", barren=BARREN_BELOW)
                return
            if first is None and self._known(host, family):
                self._add(host, family, novel=True, weight=1, name="trap-path", barren=BARREN_BELOW)

    def _first(self, host: str, page: int, place: int) -> int | None:
        """The place at which this print was seen first; None if it is new, and remembered from now on."""
        added = self._db.execute("INSERT OR IGNORE INTO trap_texts VALUES (?, ?, ?)", (host, page, place))
        if added.rowcount:
            return None
        select = "SELECT first FROM trap_texts WHERE host = ? AND print = ?"
        return int(self._db.execute(select, (host, page)).fetchone()[0])

    # --- parts of URLs that make no difference ---

    def _compare(self, url: str, host: str, page: int, *, is_new: bool) -> None:
        """Hold the page against the same one with another value of what looks like a session. A text that
        several pages have, such as "please log in", proves nothing."""
        for name, value, rest in _opaque(url):
            select = "SELECT same, different FROM trap_parts WHERE host = ? AND name = ?"
            row = self._db.execute(select, (host, name)).fetchone()
            if row is None and not self._watch(host, name):
                continue
            same, different = row or (0, 0)
            if different > same:
                continue  # it matters
            known = self._value(host, name, rest)
            if known is None:
                new = (host, name, rest, value, page if is_new else None)
                self._db.execute("INSERT INTO trap_values VALUES (?, ?, ?, ?, ?)", new)
            elif known != value:
                self._judge(host, name, rest, page)

    def _watch(self, host: str, name: str) -> bool:
        """Begin to watch a part; False if too many are already."""
        count = "SELECT count(*) FROM trap_parts WHERE host = ?"
        if self._db.execute(count, (host,)).fetchone()[0] >= TRACKED:
            return False
        self._db.execute("INSERT INTO trap_parts VALUES (?, ?, 0, 0)", (host, name))
        return True

    def _judge(self, host: str, name: str, rest: int, page: int) -> None:
        """Each page counts once: its first print is taken away then."""
        where = (host, name, rest)
        (before,) = self._db.execute(f"SELECT print FROM trap_values WHERE {OF_PAGE}", where).fetchone()
        if before is None:
            return
        self._db.execute(f"UPDATE trap_values SET print = NULL WHERE {OF_PAGE}", where)
        count = (
            "UPDATE trap_parts SET same = same + ?, different = different + ? WHERE host = ? AND name = ? "
            "RETURNING same, different"
        )
        changed = before != page
        ((same, different),) = self._db.execute(count, (not changed, changed, host, name)).fetchall()
        if _is_session(same, different):
            self._sessions.setdefault(host, set()).add(name)
        elif different > same:
            self._db.execute("DELETE FROM trap_values WHERE host = ? AND name = ?", (host, name))

    def _value(self, host: str, name: str, page: int) -> int | None:
        """The value of the part with which the page came."""
        select = f"SELECT value FROM trap_values WHERE {OF_PAGE}"
        row = self._db.execute(select, (host, name, page)).fetchone()
        return int(row[0]) if row else None


def _is_session(same: int, different: int) -> bool:
    return same >= SESSION_PAGES * (1 + different)


def _opaque(url: str) -> list[tuple[str, int, int]]:
    """Each part of the URL that looks like a session: its name (the parameter's, or `/` and its place in
    the path), print of the value, print of the URL without it."""
    site, _, query = url.partition("?")
    segments, pieces = site.split("/"), query.split("&") if query else []
    found = []
    for place in range(3, len(segments)):
        if OPAQUE.match(segments[place]):
            rest = "/".join(segments[:place] + segments[place + 1 :])
            found.append((f"/{place - 2}", _print(segments[place]), _print(f"{rest}?{query}")))
    for place, piece in enumerate(pieces):
        name, _, value = piece.partition("=")
        if OPAQUE.match(value):
            rest = "&".join(pieces[:place] + pieces[place + 1 :])
            found.append((name, _print(value), _print(f"{site}?{rest}")))
    return found


def probe_of(url: str) -> str:
    """A URL of the same origin that no site has; always the same."""
    origin = url[: url.index("/", url.index("//") + 2)]
    return f"{origin}/{blake2b(origin.encode(), digest_size=10).hexdigest()}.html"


def _is_root(url: str) -> bool:
    return url.endswith("/") and url.count("/") == 3


# --- prints ---


def family_of(url: str) -> int:
    """Positive."""
    return abs(_print(shape_of(url)))


def _beginnings(url: str) -> list[tuple[int, str]]:
    """What the path begins with, the root apart, each after the (negative) family of all that is below."""
    segments = url.partition("?")[0].partition("//")[2].rstrip("/").split("/")
    paths = ["/".join(segments[:end]) for end in range(2, len(segments))]
    return [(-abs(_print(f"{path}/*")), path) for path in paths]


def _print(text: str) -> int:
    """64 bits; odd, so that its sign may be chosen."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True) | 1


def _template(url: str, text: str) -> int | None:
    """What is left of a text without the page's own address in it and without numbers; None for nothing."""
    path = url.partition("//")[2].partition("/")[2]
    name = path.rpartition("/")[2]
    for part in (url, path, name, name.partition(".")[0]):
        for spelling in (part, unquote(part)):
            if len(spelling) > 2:
                text = text.replace(spelling, "")
    rest = "".join(NUMBER.sub("", text).split())
    return _print(rest) if rest else None


def _without_dates(url: str, text: str) -> str:
    """A text without what changes from one empty page of a calendar to the next: numbers that are the
    URL's own or one off, and days in a row. Other numbers stay: a table of temperatures is new each month."""
    near = {int(number) + step for number in NUMBER.findall(url) if len(number) < 9 for step in (-1, 0, 1)}
    pieces = NUMBERS.split(text)
    spelled = pieces[1::2]
    steps = [-9, *(int(number) if len(number) < 9 else -9 for number in spelled), -9]
    for index in range(len(spelled)):
        before, day, after = steps[index : index + 3]
        in_a_row = day == before + 1 or after == day + 1 or (day > 27 and after == 1)
        if day in near or (0 < day < 32 and in_a_row):
            pieces[2 * index + 1] = ""
    return "".join(pieces)
