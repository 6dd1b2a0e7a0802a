"""Hosts with rules: robots.txt in every state that it can be in, and opt-outs in every place."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from tests.crawler.testweb.exchange import (
    TDMREP,
    Asked,
    Headers,
    Reply,
    page,
    raw,
    redirect,
    text,
)
from tests.crawler.testweb.hosts import ALLOW_ALL, Answer, Host, by_table, outcomes
from tests.crawler.testweb.words import prose

OPEN, SHUT = ("/", "/open/a.html", "/open/b.html"), ("/shut/a.html", "/shut/b.html")
RULES = "User-agent: *\nDisallow: /shut/\n"
HUGE_FILL = "# " + "x" * 97 + "\n"
HUGE_BYTES = 450 << 10
"""Before the rule that counts: RFC 9309, section 2.5, has crawlers read 500 KiB at least."""


@dataclass(frozen=True)
class Robots:
    """A robots.txt, and what follows from it for a site of open and shut pages."""

    answer: Reply | Answer
    shut: bool = True
    """It forbids /shut/."""
    closed: str | None = None
    """Why it forbids everything."""
    delay_seconds: float = 0.0
    may: tuple[str, ...] = ()
    """Other paths that whoever reads it asks for."""
    listens: bool = True


def _hang_up(asked: Asked) -> Reply:
    async def nothing() -> AsyncIterator[bytes]:
        for piece in ():
            yield piece

    return Reply(stream=nothing)


ROBOTS: Mapping[str, Robots] = {
    "robots-allow": Robots(text("User-agent: *\nAllow: /\n"), shut=False),
    "robots-disallow": Robots(text(RULES)),
    "robots-crlf-and-bom": Robots(text("\ufeffUser-agent: *\r\nDisallow: /shut/\r\n")),
    "robots-carriage-returns": Robots(text("User-agent: *\rDisallow: /shut/\r")),
    "robots-for-us": Robots(text("User-agent: moinho\nDisallow: /shut/\n\nUser-agent: *\nDisallow: /\n")),
    "robots-for-others": Robots(text("User-agent: otherbot\nDisallow: /\n"), shut=False),
    "robots-longest-match": Robots(text("User-agent: *\nDisallow: /\nAllow: /open/\nAllow: /$\n")),
    "robots-wildcard": Robots(text("User-agent: *\nDisallow: /*shut*.html$\n")),
    "robots-percent": Robots(text("User-agent: *\nDisallow: /%73hut/\n")),
    "robots-404": Robots(text("there is none", 404), shut=False),
    "robots-403": Robots(text("no", 403), shut=False),
    "robots-500": Robots(text("broken", 500), closed="its robots.txt answers 500"),
    "robots-503": Robots(text("busy", 503), closed="its robots.txt answers 503"),
    "robots-unreachable": Robots(_hang_up, closed="its robots.txt cannot be read"),
    "robots-nobody": Robots(text(""), closed="nobody answers there", listens=False),
    "robots-redirect": Robots(redirect("/elsewhere/robots.txt"), may=("/elsewhere/robots.txt",)),
    "robots-redirect-loop": Robots(redirect("/robots.txt"), shut=False),
    "robots-huge": Robots(text(HUGE_FILL * (HUGE_BYTES // len(HUGE_FILL)) + RULES)),
    "robots-html": Robots(page(title="our front page"), shut=False),
    "robots-empty": Robots(text(""), shut=False),
    "robots-delay": Robots(text(RULES + "Crawl-delay: 0.6\n"), delay_seconds=0.6),
    "robots-rate": Robots(text(RULES + "Request-rate: 2/1\n"), delay_seconds=0.5),
    "robots-all": Robots(text("User-agent: *\nDisallow: /\n"), closed="its robots.txt disallows all"),
    "robots-agent-case": Robots(text("USER-AGENT: MoInHo\nDISALLOW: /shut/\n")),
    "robots-comments": Robots(text("# hello\nUser-agent: * # all\nDisallow: /shut/ # this\n\n\nfoo: bar\n")),
    "robots-broken-http": Robots(raw(b"garbage\r\n\r\n"), closed="its robots.txt cannot be read"),
}


def robots_hosts() -> list[Host]:
    return [_robots_host(kind, robots) for kind, robots in ROBOTS.items()]


def _robots_host(kind: str, robots: Robots) -> Host:
    paths = (*OPEN, *SHUT)
    table: dict[str, Reply | Answer] = {
        path: page(*paths, title=f"{path} of {kind}", text=prose(f"{kind} {path}")) for path in paths
    }
    table |= {path: text(RULES) for path in robots.may}
    pages = () if robots.closed else OPEN if robots.shut else paths
    return Host(
        f"{kind}.example",
        kind,
        by_table(table, robots.answer),
        pages=frozenset(pages),
        may={path: outcomes() for path in robots.may},
        never=dict.fromkeys((*SHUT, TDMREP) if robots.closed else SHUT, "robots.txt disallows it")
        if robots.shut
        else {},
        closed=robots.closed,
        delay_seconds=robots.delay_seconds,
        listens=robots.listens,
        counted=outcomes("robots", "robots-unreachable", "unreachable") if robots.closed else outcomes(),
    )


@dataclass(frozen=True)
class OptOut:
    """How a host says that the page /marked is not to be used, or its links not to be followed."""

    headers: Headers = ()
    head: str = ""
    """In the page's <head>."""
    policy: str | None = None
    """The host's tdmrep.json."""
    stored: bool = False
    """The page may be kept all the same."""
    followed: bool = True
    """Its links may be followed."""
    asked: bool = True
    """It may be asked for; a policy that is known before forbids even that."""


def _header(value: str) -> Headers:
    return (("X-Robots-Tag", value),)


def _meta(content: str, name: str = "robots") -> str:
    return f'<meta name="{name}" content="{content}">'


def _tdm(location: str, reserved: int = 1) -> str:
    return f'[{{"location": "{location}", "tdm-reservation": {reserved}}}]'


OPT_OUTS: Mapping[str, OptOut] = {
    "header-noindex": OptOut(_header("noindex")),
    "header-none": OptOut(_header("none"), followed=False),
    "header-noai": OptOut(_header("noai, noimageai")),
    "header-nofollow": OptOut(_header("nofollow"), stored=True, followed=False),
    "header-for-us": OptOut(_header("moinho: noindex")),
    "header-for-others": OptOut(_header("otherbot: noindex, nofollow"), stored=True),
    "header-several": OptOut((*_header("unavailable_after: 1 Jan 2999 00:00:00 GMT"), *_header("NoIndex"))),
    "meta-noindex": OptOut(head=_meta("noindex")),
    "meta-nofollow": OptOut(head=_meta("max-snippet:50, nofollow"), stored=True, followed=False),
    "meta-noai": OptOut(head=_meta("NOAI")),
    "meta-for-us": OptOut(head=_meta("noindex", "moinho")),
    "meta-for-others": OptOut(head=_meta("noindex,nofollow", "otherbot"), stored=True),
    "usage-header": OptOut((("Content-Usage", "train-ai=n"),)),
    "usage-header-free": OptOut((("Content-Usage", "train-ai=y"),), stored=True),
    "tdm-header": OptOut((("TDM-Reservation", "1"),)),
    "tdm-header-free": OptOut((("TDM-Reservation", "0"),), stored=True),
    "tdm-meta": OptOut(head=_meta("1", "tdm-reservation")),
    "tdm-file": OptOut(policy=_tdm("/marked"), asked=False),
    "tdm-file-pattern": OptOut(policy=_tdm("/mar*"), asked=False),
    "tdm-file-and-header-free": OptOut((("TDM-Reservation", "0"),), policy=_tdm("/marked"), asked=False),
    "tdm-file-free-and-header": OptOut((("TDM-Reservation", "1"),), policy=_tdm("/marked", 0)),
    "tdm-header-free-and-meta": OptOut((("TDM-Reservation", "0"),), head=_meta("1", "tdm-reservation")),
    "tdm-file-broken": OptOut(policy="[{", stored=True),
}
WHOLE_HOST = "tdm-file-all"
"""A host that reserves everything."""


def opt_out_hosts() -> list[Host]:
    whole = Host(
        f"{WHOLE_HOST}.example",
        WHOLE_HOST,
        by_table({"/": page("/a"), "/a": page(), "/.well-known/tdmrep.json": _policy(_tdm("/*"))}),
        closed="its tdmrep.json reserves everything",
        counted=outcomes("opt-out"),
    )
    return [whole, *(_opt_out_host(kind, marks) for kind, marks in OPT_OUTS.items())]


def _policy(body: str) -> Reply:
    return Reply(body.encode(), headers=(("Content-Type", "application/json"),))


def _opt_out_host(kind: str, marks: OptOut) -> Host:
    """The front page leads to /marked, which alone leads to /behind."""
    table: dict[str, Reply | Answer] = {
        "/": page("/marked", title=f"/ of {kind}", text=prose(f"{kind} front")),
        "/marked": page(
            "/behind",
            title=f"/marked of {kind}",
            text=prose(f"{kind} marked"),
            head=marks.head,
            headers=marks.headers,
        ),
        "/behind": page(title=f"/behind of {kind}", text=prose(f"{kind} behind")),
    }
    if marks.policy is not None:
        table["/.well-known/tdmrep.json"] = _policy(marks.policy)
    followed = marks.followed and marks.asked
    never = {} if followed else {"/behind": "only a page with nofollow leads there"}
    if not marks.asked:
        never["/marked"] = "tdmrep.json reserves it"
    return Host(
        f"{kind}.example",
        kind,
        by_table(table, ALLOW_ALL),
        pages=frozenset(
            {"/"} | ({"/marked"} if marks.stored else set()) | ({"/behind"} if followed else set())
        ),
        may={} if marks.stored or not marks.asked else {"/marked": outcomes("opt-out")},
        never=never,
        counted=outcomes() if marks.stored else outcomes("opt-out"),
    )
