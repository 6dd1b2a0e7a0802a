"""Random inputs for all that reads what the web sends: `python -m tests.crawler.fuzz --inputs 1000000`.

Each fuzzer makes one input of a random generator, and raises if what came out is wrong. An input is known
by its fuzzer and its number alone: `--only markup --first 4711 --inputs 1` makes it again. The tests
run some hundreds of each (test_fuzz.py).
"""

import argparse
import gzip
import json
import math
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from random import Random

from protego import Protego
from selectolax.lexbor import LexborHTMLParser

from crawler.backoff import retry_after
from crawler.markup import read_markup, visible_text
from crawler.repetition import Traps
from crawler.robots_txt import parse
from crawler.scope import Scope
from crawler.sitemaps import FILE_PAGES, read_sitemap
from crawler.tdmrep import read_tdmrep, rule_for
from crawler.traps import trap_in
from crawler.urls import (
    BLANKS,
    BUCKETS,
    URL_CHARACTERS,
    bucket_of,
    canonical,
    host_of,
    joined,
    resolve,
    shape_of,
)
from pipeline.corpus.opt_outs import Honoured, opt_outs

Fuzzer = Callable[[Random], None]

SECONDS = 2.0
"""Of CPU for one input; a longer one is a defect."""
BASE = "http://example.org/a/b.html?c=d"

# fmt: off
URL_PIECES = [
    "http:", "HTTPS:", "//", "/", "?", "#", "&", "=", ":", "@", ";", "%", "\\", "[", "]", "..", ".", " ",
    "\t", "a", "Z", "0", "é", "ß", "日本", "\ud800", "\0", "\x7f", "example.org", "xn--", "xn--bcher-kva",
    "127.1", "::1", "%2e", "%2F", "%41", "%25", "%e9", "%C3%A9", "%zz", "utm_source=x", ";jsessionid=1",
    "sid=" + "a" * 32, "2026", "05", "foo/", "foo/", "calendar", "x" * 300, "0xff", ":80", ":65536",
    "(S(1))", "~", "!$'()*,", "+",
]
ROBOTS_PIECES = [
    "User-agent:", "user-agent: *", "moinho", "Disallow:", "Allow:", "Crawl-delay:", "Request-rate:",
    "Sitemap:", "Content-Usage:", "Content-Signal: ai-train=no", "\n", "\n", "\r", "\r\n", "\0", "#", " ",
    "\t", ":", "\ufeff", "/", "/a", "*", "$", "%", "%2F", "%24", "?", "=", "1", "0.5", "1/10s", "nan",
    "inf", "-1", "é", "\ud800",
]
TAG_PIECES = [
    "<a href=", "<a\nhref = ", "<A HREF='", '<a href="', "<area href=x>", "<a/href=y/>", "<a name=z>",
    "<html lang=", "'", '"', ">", "<", "/", "=", " ", "\t", "x", "é", "#f", "<b>", "</a>", "<noscript>",
    "<base target=b>", "&amp;", "&copy", "&copy=1", "&#233;", "&lt;", "&nope;", "&#", "<iframe src=u>",
    "</iframe>", '<b ="x">', "<!--", "-->", "--!>", "<!-->", "<!x>", "<?x>", "</>", "</ x>", "<3",
    "<p title='>", "<p title=it's>", "<script>", "</script>", "</SCRIPT >", "<style>", "</style>",
    "<textarea>", "</textarea>", "<title>", '<p title=">', "</title>", "<a a=1 href=p href=q>",
]
"""Without elements whose place in the tree decides whether they count, such as `select`."""
PAGE_PIECES = [
    *TAG_PIECES, "<meta name=robots content=", "<meta name=", "content=", "<base href=", "<plaintext>",
    "<template>", "<svg>", "<select>", "<frameset>", "<math>", "<table>", "<![CDATA[", "]]>", "\0",
    "\ud800", "&#x110000;", "&#0;", "<a" * 50,
]
SITEMAP_PIECES = [
    "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>", "<urlset>", "</urlset>", "<url>",
    "</url>", "<loc>", "</loc>", "http://a.org/", "/x?a=1&amp;b=2", "&", "&e;", "<lastmod>", "2026-01-01",
    "</lastmod>", "<priority>", "0.5", "nan", "</priority>", "<sitemapindex>", "<sitemap>", "</sitemap>",
    "</sitemapindex>", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-16'?>",
    "<!DOCTYPE u [<!ENTITY e 'x'>]>", "<?x?>", "<!--", "-->", "<![CDATA[", "]]>", "\n", " ", "é", "\0",
    "<i:loc xmlns:i='x'>", "</i:loc>", "<", ">", "'", "http://a.org/1\n",
]
HEADER_PIECES = [
    "noindex", "nofollow", "none", "noai", "noimageai", "all", ",", ":", " ", ";", "moinho:", "otherbot:",
    "*:", "unavailable_after: 1 Jan 2030 00:00:00 GMT", "max-snippet:-1", "1", "0", "/p", "http://[",
    "train-ai=n", "=", "ai-train=no", "\0", "é", "x" * 500, "Sun, 06 Nov 1994 08:49:37 GMT", "120",
    "9" * 400, "-1", "1e9",
]
# fmt: on
TRAPS = Traps(sqlite3.connect(":memory:", isolation_level=None), 2026)


def text_of(draw: Random, pieces: Sequence[str], most: int = 14) -> str:
    text = "".join(draw.choices(pieces, k=draw.randrange(most)))
    return text if draw.random() < 0.9 else text + "".join(chr(draw.randrange(0x250)) for _ in range(8))


def bytes_of(draw: Random, pieces: Sequence[str], most: int = 14) -> bytes:
    body = text_of(draw, pieces, most).encode(draw.choice(["utf-8", "utf-8", "utf-16", "latin-1"]), "replace")
    if draw.random() < 0.3:
        cut = draw.randrange(len(body) + 1)
        body = body[:cut] + draw.randbytes(draw.randrange(6)) + body[cut + draw.randrange(3) :]
    return body


def check(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise AssertionError(f"{what}: {found!r}")


def fuzz_canonical(draw: Random) -> None:
    text = draw.choice(["http://", "https://example.org/", ""]) + text_of(draw, URL_PIECES)
    url = canonical(text)
    if url is None:
        return
    check(canonical(url) == url, "it changes again", (text, url))
    check(url.isascii() and url.startswith(("http://", "https://")) and "#" not in url, "no URL", (text, url))
    check(len(url) <= URL_CHARACTERS and bool(host_of(url)), "its length or host", (text, url))
    check(0 <= bucket_of(host_of(url)) < BUCKETS and shape_of(url) != "", "its family", (text, url))


def fuzz_resolve(draw: Random) -> None:
    base = canonical("http://example.org/" + text_of(draw, URL_PIECES, 5)) or BASE
    link = text_of(draw, URL_PIECES)
    url = resolve(base, link)
    whole = canonical(joined(base, link.strip(BLANKS)))  # the URL Standard begins so, urljoin does not
    check(url == whole, "not what joining gives", (base, link, url, whole))
    check(url is None or canonical(url) == url, "not canonical", (base, link, url))


def fuzz_robots(draw: Random) -> None:
    body = bytes_of(draw, ROBOTS_PIECES, 40)
    url = canonical("http://example.org/" + text_of(draw, URL_PIECES, 5)) or BASE
    found = parse(b"User-agent: *\n" + body, "moinho")
    check(found.allows("http://example.org/robots.txt"), "robots.txt itself", body)
    check(0 <= found.delay_seconds < math.inf, "its delay", body)
    found.allows(url)
    found.statements(url)


def fuzz_robots_protego(draw: Random) -> None:
    """Where it follows RFC 9309: without reserved characters, of which it counts three octets each."""

    def path(characters: str) -> str:
        text = "/" + "".join(draw.choices(characters, k=draw.randrange(8)))
        return text.replace("**", "*").replace("**", "*")

    rules = [(draw.choice(["Allow", "Disallow"]), path("ab/*.-~") + draw.choice(["", "$"])) for _ in range(5)]
    text = "User-agent: moinho\n" + "".join(f"{verb}: {pattern}\n" for verb, pattern in rules)
    url = f"http://example.org{path('ab/.-~')}"
    ours, theirs = parse(text.encode(), "moinho").allows(url), Protego.parse(text).can_fetch(url, "moinho")
    check(ours is theirs, f"Protego says {theirs}", (text, url))


def parsed_links(text: str) -> list[str]:
    """Links by lexbor's tree."""
    found: dict[str, None] = {}
    for node in LexborHTMLParser(text).css("a[href], area[href], frame[src], iframe[src]"):
        link = node.attributes.get("href") or node.attributes.get("src") or ""
        found[link.partition("#")[0].strip()] = None
    return [link for link in found if link]


def fuzz_links(draw: Random) -> None:
    page = "<p>" + text_of(draw, TAG_PIECES, 16)
    page = "".join(character for character in page if character >= " " or character in "\t\n")
    check(read_markup(page).links == parsed_links(page), "other links than a parser finds", page)


def fuzz_markup(draw: Random) -> None:
    page = bytes_of(draw, PAGE_PIECES, 40).decode("utf-8", draw.choice(["replace", "surrogateescape"]))
    found = read_markup(page)
    check(len(set(found.links)) == len(found.links) and "" not in found.links, "its links", page)
    for link in found.links:
        resolve(BASE, link)
    text = visible_text(page)
    check(len(text) <= len(page) + 1 and "  " not in text, "its text", page)


def fuzz_sitemap(draw: Random) -> None:
    body = bytes_of(draw, SITEMAP_PIECES, 40)
    if draw.random() < 0.2:
        body = gzip.compress(body, 1)[: draw.randrange(8, 200)]
    found = [each for each in read_sitemap(body, BASE) if each is not None]
    check(len(found) <= FILE_PAGES, "its length", body)
    for each in found:
        check(canonical(each.url) == each.url and 0 <= each.priority <= 1, "an entry", (body, each))


def fuzz_opt_outs(draw: Random) -> None:
    names = [
        "X-Robots-Tag",
        "TDM-Reservation",
        "tdm-policy",
        "Content-Usage",
        "Content-Signal",
        "robots",
        "moinho",
    ]
    pairs = [(draw.choice(names), text_of(draw, HEADER_PIECES)) for _ in range(draw.randrange(5))]
    rule = {
        "location": text_of(draw, ROBOTS_PIECES),
        "tdm-reservation": draw.choice([0, 1, "1", None, [], 1e400]),
    }
    rules = read_tdmrep(json.dumps([rule]).encode()) + read_tdmrep(
        bytes_of(draw, ["[", "{", '"location"', ":", "1"])
    )
    found = opt_outs(
        pairs,
        [(name.lower(), value) for name, value in pairs],
        "moinho",
        BASE,
        rule_for(BASE, rules),
        ["", "a=b"],
    )
    found.forbids_storing(Honoured())
    check(len(found.text() or "") <= 2_000 and "\n" not in (found.text() or ""), "its text", pairs)


def fuzz_retry_after(draw: Random) -> None:
    value = text_of(draw, HEADER_PIECES, 4)
    seconds = retry_after(value, 1e9)
    check(seconds is None or 0 <= seconds < math.inf, "its seconds", (value, seconds))


def fuzz_scope(draw: Random) -> None:
    url = canonical("http://example.org/" + text_of(draw, URL_PIECES, 5)) or BASE
    text = text_of(draw, [*URL_PIECES, "*", "$"], 6)
    try:
        allow, deny = Scope(allow=(text,)), Scope(deny=(text,))
    except ValueError:
        return
    refusals = allow.refusal(url, host_of(url)), deny.refusal(url, host_of(url))
    check((refusals[0] is None) is not (refusals[1] is None), "it matches and does not", (text, url))


def fuzz_traps(draw: Random) -> None:
    host = f"http://h{draw.getrandbits(64)}.org/"
    for _ in range(4):
        url = canonical(host + text_of(draw, URL_PIECES, 8)) or host
        check((TRAPS.refusal(url) is None) or trap_in(url, 2026) is not None, "refused at first sight", url)
        seen = TRAPS.saw_page(url, text_of(draw, URL_PIECES))
        check(seen.trap is None, "a trap at first sight", url)
    TRAPS.saw_chain(url)


FUZZERS: dict[str, Fuzzer] = {
    name.removeprefix("fuzz_"): fuzzer for name, fuzzer in list(globals().items()) if name.startswith("fuzz_")
}


def run(name: str, first: int, count: int) -> float:
    """Inputs `first`, `first` + 1, … of a fuzzer. Returns the seconds of CPU that the slowest took."""
    slowest = 0.0
    for number in range(first, first + count):
        began = time.process_time()
        try:
            FUZZERS[name](Random(f"{name} {number}"))
        except Exception as error:
            raise AssertionError(f"{name}, input {number}: {type(error).__name__}: {error}") from error
        slowest = max(slowest, time.process_time() - began)
        if slowest > SECONDS:
            raise AssertionError(f"{name}, input {number}: took {slowest:.1f} s of CPU")
    return slowest


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="shared evenly by the fuzzers")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each")
    parser.add_argument("--only", choices=FUZZERS, help="this fuzzer alone")
    options = parser.parse_args()
    names = [options.only] if options.only else list(FUZZERS)
    failed = 0
    for name in names:
        began = time.process_time()
        count = math.ceil(options.inputs / len(names))
        try:
            slowest = run(name, options.first, count)
        except AssertionError as error:
            failed += 1
            print(f"FAILED {error}", flush=True)
            continue
        seconds = time.process_time() - began
        print(
            f"{name:16} {count:>9,} inputs, {seconds:6.1f} s of CPU, slowest {slowest * 1e3:.1f} ms",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
