"""Hosts whose links lead nowhere: each a trap of its own, with what it may cost and what must come of it.

`AT_MOST` bounds what a trap may cost in requests; what is real on such a host must be found all the same.
"""

import random
from collections.abc import Mapping
from dataclasses import replace

from tests.crawler.testweb.exchange import Asked, Reply, missing, page, redirect
from tests.crawler.testweb.hosts import ALLOW_ALL, FAILED, Answer, Host, by_table, outcomes
from tests.crawler.testweb.words import prose

AT_MOST = 600
"""Requests that an endless host may cost."""
REAL = tuple(
    f"/real/{name}.html" for name in ("ash", "birch", "cedar", "dogwood", "elm", "fir", "gum", "hazel")
)
MANY_LINKS, MANY_DISALLOWED = 100_000, 2_000
LONG_URL = 100_000
"""Characters."""
CHAIN = 40
"""Redirects in a row that lead to a page in the end: too many."""
SHORT_CHAIN = 4
MONTHS = 12
SESSION_PAGES = 20
FILE = "file:///etc/hostname"
METADATA = "http://169.254.169.254/latest/meta-data/"
PRIVATE_SPELLINGS = (
    *(
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
    ),
    *("http://[::1]/", "http://[::ffff:7f00:1]/", "http://127.1/", "http://2130706433/", "http://[fe80::1]/"),
    *(METADATA, "http://[fd00:ec2::254]/latest/meta-data/"),
)


def trap_hosts() -> list[Host]:
    return [
        *(endless_calendar(), endless_query_calendar(), session_ids(), growing_paths(), repeated_paths()),
        *(redirect_loops(), long_chain(), soft_404(), duplicates(), many_links(), long_urls()),
        *(private_redirects(), file_redirects(), *private_seeds()),
    ]


def _real(kind: str) -> dict[str, Reply | Answer]:
    """Honest pages on a host that has a trap besides."""
    return {path: page(*REAL, title=f"{path} of {kind}", text=prose(kind + path)) for path in REAL}


def _front(kind: str, *links: str) -> Reply:
    return page(*REAL, *links, title=f"Front page of {kind}", text=prose(kind))


def _trap(kind: str, answer: Answer, *counted: str, pages: tuple[str, ...] = ("/", *REAL)) -> Host:
    return Host(
        f"{kind}.example",
        kind,
        answer,
        pages=frozenset(pages),
        at_most=AT_MOST,
        counted=outcomes(*counted),
    )


def endless_calendar() -> Host:
    """Every month leads to the one before and the one after, for ever, as folders."""
    kind = "endless-calendar"
    known = by_table({"/": _front(kind, "/calendar/2026/01/")} | _real(kind))

    def answer(asked: Asked) -> Reply:
        parts = asked.path.strip("/").split("/")
        if parts[0] != "calendar" or len(parts) != 3:
            return known(asked)
        month = int(parts[1]) * MONTHS + int(parts[2]) - 1
        near = [f"/calendar/{each // MONTHS}/{each % MONTHS + 1:02d}/" for each in (month - 1, month + 1)]
        return page(*near, title=f"Calendar {parts[1]}", text=f"No events in {parts[2]}/{parts[1]}.")

    return _trap(kind, answer, "trap-calendar", "trap-path", "trap-duplicates", "host-limit")


def endless_query_calendar() -> Host:
    """The same by query, and with a day view for each day of a month."""
    kind = "endless-query-calendar"
    known = by_table({"/": _front(kind, "/cal?y=2026&m=1")} | _real(kind))

    def answer(asked: Asked) -> Reply:
        path, _, query = asked.path.partition("?")
        if path != "/cal":
            return known(asked)
        fields = dict(field.partition("=")[::2] for field in query.split("&"))
        month = int(fields["y"]) * MONTHS + int(fields["m"]) - 1
        near = [f"/cal?m={each % MONTHS + 1}&y={each // MONTHS}" for each in (month - 1, month + 1)]
        days = [f"/cal?d={day}&m={month % MONTHS + 1}&y={month // MONTHS}" for day in range(1, 29)]
        return page(*near, *days, title=f"Calendar {query}", text="There are no events.")

    return _trap(kind, answer, "trap-calendar", "trap-path", "trap-duplicates", "host-limit")


def session_ids() -> Host:
    """Every answer gives its links other session ids; without them there are just some pages."""
    kind = "session-ids"
    paths = ("/", *(f"/view?page={number}" for number in range(1, SESSION_PAGES)))
    chance = random.Random(kind)

    def answer(asked: Asked) -> Reply:
        if asked.path not in paths:
            return ALLOW_ALL if asked.path == "/robots.txt" else missing()
        ids = f"{chance.getrandbits(128):032x}"
        names = ("PHPSESSID", "sid", "sessionid", "ASPSESSIONIDABCDEFGH", "CFID")
        links = [f"{path}{'&' if '?' in path else '?'}{name}={ids}" for path in paths for name in names[:2]]
        links += [f"{path.partition('?')[0]};jsessionid={ids}?{path.partition('?')[2]}" for path in paths[1:]]
        return page(*links, title=f"{asked.path} of {kind}", text=prose(kind + asked.path))

    return Host(f"{kind}.example", kind, answer, pages=frozenset(paths))


def growing_paths() -> Host:
    """A relative link without a slash before it, on a server that answers whatever is asked."""
    kind = "growing-paths"

    def answer(asked: Asked) -> Reply:
        if asked.path == "/":
            return _front(kind, "about/team/")
        if asked.path.startswith("/about/"):
            return page("about/team/", "team/about/", title="Somewhere", text=prose(kind + asked.path))
        return by_table(_real(kind))(asked)

    return _trap(kind, answer, "trap-path", "trap-url-length", "host-limit")


def repeated_paths() -> Host:
    """/x/x/x/x/… with queries that grow too."""
    kind = "repeated-paths"

    def answer(asked: Asked) -> Reply:
        if asked.path == "/":
            return _front(kind, "/x/?v=1")
        if asked.path.startswith("/x/"):
            path, _, query = asked.path.partition("?")
            return page(f"{path}x/?{query}", f"{path}?{query}&v=1", title="Again", text=prose(asked.path))
        return by_table(_real(kind))(asked)

    return _trap(kind, answer, "trap-path", "trap-url-length", "host-limit")


def redirect_loops() -> Host:
    """Two that lead to each other, one that leads to itself, and one that counts up without end."""
    kind = "redirect-loops"
    known = by_table(
        {
            "/": _front(kind, "/one", "/self", "/count/0"),
            "/one": redirect("/two"),
            "/two": redirect("/one", 301),
            "/self": redirect("/self", 307),
        }
        | _real(kind)
    )

    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/count/"):
            return redirect(f"/count/{int(asked.path[7:]) + 1}", 303)
        return known(asked)

    return _trap(kind, answer, "redirect-loop", "trap-chain")


def long_chain() -> Host:
    """A short chain of redirects ends at a page that must be found; a long one need not be followed."""
    kind = "long-chain"
    table = {"/": _front(kind, "/s0", "/l0"), "/end-of-short": _front(f"end of short {kind}")}
    table |= {f"/s{step}": redirect(f"/s{step + 1}") for step in range(SHORT_CHAIN)}
    table |= {f"/l{step}": redirect(f"/l{step + 1}") for step in range(CHAIN)}
    table[f"/s{SHORT_CHAIN}"] = redirect("/end-of-short")
    table[f"/l{CHAIN}"] = _front(f"end of long {kind}")
    pages = ("/", *REAL, "/end-of-short")
    host = _trap(kind, by_table({**table, **_real(kind)}), "redirect-loop", "trap-chain", pages=pages)
    host.at_most = len(pages) + CHAIN + SHORT_CHAIN
    return host


def soft_404() -> Host:
    """Whatever is not there is answered with 200 and the same apology, which links to what is not there."""
    kind = "soft-404"

    def answer(asked: Asked) -> Reply:
        found = by_table({"/": _front(kind, "/gone/0.html")} | _real(kind))(asked)
        if found.status != 404:
            return found
        chance = random.Random(asked.path)
        links = [f"/gone/{prose(str(chance.random()), 1).strip('.')}-{n}.html" for n in range(10)]
        return page(*links, title="Sorry", text=f"We did not find {asked.path}. Try our search.")

    return _trap(kind, answer, "soft-404", "trap-duplicates", "host-limit")


def duplicates() -> Host:
    """One content under as many URLs as one likes."""
    kind = "duplicates"
    chance = random.Random(kind)
    same = [f"/list?sort={chance.getrandbits(24)}" for _ in range(30)]

    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/list"):
            base = asked.path.partition("&")[0]
            return page(*same, f"{base}&view=print", title="The list", text=prose(kind))
        return by_table({"/": _front(kind, *(f"/list?sort={n}" for n in range(2_000)))} | _real(kind))(asked)

    return _trap(kind, answer, "trap-duplicates", "host-limit", "trap-path")


def many_links() -> Host:
    """100,000 links on a page: nearly all to hosts that are in no one's scope, some to what is disallowed."""
    kind = "many-links"
    disallowed = [f"/private/{number}" for number in range(MANY_DISALLOWED)]
    outside = [
        f"http://far{number % 50}.example/{number}"
        for number in range(MANY_LINKS - MANY_DISALLOWED - len(REAL))
    ]
    front = _front(kind, *disallowed, *outside)
    return Host(
        f"{kind}.example",
        kind,
        by_table({"/": front} | _real(kind)),
        pages=frozenset(("/", *REAL)),
        never=dict.fromkeys(disallowed, "robots.txt disallows it"),
    )


def long_urls() -> Host:
    """Links, and a redirect, of 100,000 characters, which nobody need follow."""
    kind = "long-urls"
    long = {
        "path": f"/{'y' * LONG_URL}",
        "query": f"/q?x={'z' * LONG_URL}",
        "folders": f"/{'d/' * (LONG_URL // 2)}",
    }
    table = {
        "/": _front(kind, *long.values(), f"http://{'h' * LONG_URL}.example/", "/to-long"),
        # A header that long may be too much for a client, which then may try again.
        "/to-long": replace(redirect(long["path"]), sound=False),
    }
    return Host(
        f"{kind}.example",
        kind,
        by_table({**table, **_real(kind)}),
        pages=frozenset(("/", *REAL)),
        may={"/to-long": FAILED | outcomes("redirect", "trap-url-length", "refused-scheme")},
        never=dict.fromkeys(long.values(), "no honest URL is that long"),
        counted=outcomes("trap-url-length"),
    )


def private_redirects() -> Host:
    """Links and redirects to addresses that are nobody's website; one answers, and must not be asked."""
    kind = "private-redirects"

    def to_private(asked: Asked) -> Reply:
        return redirect(f"{asked.private_origin}/secret")

    table: dict[str, Reply | Answer] = {
        f"/to{number}": redirect(target) for number, target in enumerate(PRIVATE_SPELLINGS)
    }
    table["/to-listening"] = to_private
    may = dict.fromkeys(table, outcomes("redirect", "refused-address"))
    return Host(
        f"{kind}.example",
        kind,
        by_table({"/": _front(kind, *table, *PRIVATE_SPELLINGS), **table, **_real(kind)}),
        pages=frozenset(("/", *REAL)),
        may=may,
    )


def private_seeds() -> list[Host]:
    """Seeds that redirect to private addresses, which thereby come into scope."""

    def to_private(asked: Asked) -> Reply:
        return redirect(f"{asked.private_origin}/secret")

    targets: Mapping[str, Reply | Answer] = {
        "seed-to-metadata": redirect(METADATA),
        "seed-to-private": redirect("http://10.0.0.1/"),
        "seed-to-listening": to_private,
    }
    return [
        Host(
            f"{kind}.example",
            kind,
            by_table({"/": answer}),
            may={"/": outcomes("redirect", "refused-address")},
        )
        for kind, answer in targets.items()
    ]


def file_redirects() -> Host:
    """Links and redirects to `file:` and other schemes."""
    kind = "file-redirects"
    targets = {
        "/file": FILE,
        "/ftp": "ftp://127.0.0.1/",
        "/data": "data:text/html,<p>x",
        "/odd": "gopher://x/",
    }
    table = {path: redirect(target) for path, target in targets.items()}
    return Host(
        f"{kind}.example",
        kind,
        by_table({"/": _front(kind, *table, *targets.values()), **table, **_real(kind)}),
        pages=frozenset(("/", *REAL)),
        may=dict.fromkeys(table, outcomes("redirect", "refused-scheme")),
        counted=outcomes("refused-scheme"),
    )
