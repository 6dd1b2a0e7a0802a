"""robots.txt: which group of rules is ours, and which rule decides about a URL (RFC 9309, section 2.2).

Written here because Protego 0.7 decides otherwise than the RFC in these ways (the tests show each):
a group for `moin` is taken to be for `moinho`, and one for `Moinho/2.0` for nobody; any unknown line
between two User-agent lines parts them; `?`, `&` and other reserved characters count as three octets
when the longest match is sought, so that `Allow: /*?a` beats a longer `Disallow`; `%3F` is taken for
`?`; `Allow: /index.html` allows `/` too; `Disallow: /a$` also forbids `/a$b`; a line ends at a form
feed or U+2028. Matching takes time linear in the URL for each rule, whatever wildcards it has.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

PARSED_BYTES = 1 << 20
"""How much of a robots.txt is read. RFC 9309, section 2.5: at least 500 KiB."""

LINE_END = re.compile(rb"\r\n?|\n")
PRODUCT = re.compile(r"[A-Za-z_-]+")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
TO_ESCAPE = re.compile(r"[^!-~]")
"""What stands escaped in a URL: blanks, controls, all that is not ASCII."""
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
RATE = re.compile(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*([smhd]?)", re.IGNORECASE)
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
AGENT_LABELS = ("user-agent", "useragent", "user agent")
DISALLOW_LABELS = ("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw")
"""With the misspellings that Google's parser takes for it as well."""
USAGE_LABELS = ("content-usage", "content-signal")
RULE_LABELS = ("allow", *DISALLOW_LABELS, "content-usage")
"""What ends a group's list of agents. Crawl-delay does not, as section 2.2.4 has it: by
`User-agent: *`, `Crawl-delay: 9`, `User-agent: bad`, `Disallow: /` all agents are sent away."""


@dataclass(frozen=True)
class Pattern:
    """A path with `*` for any characters and, at its end, `$` for the end of the URL; else a prefix."""

    text: str
    """With its percent-encoding normalized."""

    @cached_property
    def octets(self) -> int:
        """The most octets win (section 2.2.2), `$` and `*` counted as one however they are written."""
        return len(self.text.replace("%24", "$").replace("%2A", "*"))

    @property
    def is_wild(self) -> bool:
        return "*" in self.text or self.text.endswith("$")

    @cached_property
    def _parts(self) -> tuple[list[str], bool]:
        return self.text.removesuffix("$").split("*"), self.text.endswith("$")

    def matches(self, path: str) -> bool:
        """`path` is a URL's path and query, normalized as well."""
        parts, anchored = self._parts
        if not path.startswith(parts[0]):
            return False
        if len(parts) == 1:
            return not anchored or path == parts[0]
        position = len(parts[0])
        for part in parts[1:-1]:
            position = path.find(part, position)
            if position < 0:
                return False
            position += len(part)
        if anchored:
            return path.endswith(parts[-1]) and len(path) - len(parts[-1]) >= position
        return path.find(parts[-1], position) >= 0


@dataclass(frozen=True)
class RobotsTxt:
    """What a robots.txt says to one product token."""

    rules: tuple[tuple[Pattern, bool], ...] = ()
    """Pattern, and whether it allows; the longest first, and of two equals the one that allows."""
    delay_seconds: float = 0.0
    """Between two requests, by Crawl-delay or Request-rate."""
    sitemaps: tuple[str, ...] = ()
    usage: tuple[tuple[Pattern, str], ...] = ()
    """Statements of preference (Content-Usage, Content-Signal) and where they hold, longest path first."""

    def allows(self, url: str) -> bool:
        """True if the (canonical) URL may be fetched. robots.txt itself always may."""
        path = path_of(url)
        if path == "/robots.txt":
            return True
        rules = self.rules if path.startswith(self._prefixes) else self._wildcards
        return next((allowed for pattern, allowed in rules if pattern.matches(path)), True)

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        """The patterns that are no more than a prefix: one look rules thousands of them out."""
        return tuple(pattern.text for pattern, _ in self.rules if not pattern.is_wild)

    @cached_property
    def _wildcards(self) -> list[tuple[Pattern, bool]]:
        return [(pattern, allowed) for pattern, allowed in self.rules if pattern.is_wild]

    def statements(self, url: str) -> list[str]:
        """The statements of preference about a URL: those with the longest path that matches it."""
        path = path_of(url)
        matching = [(pattern, text) for pattern, text in self.usage if pattern.matches(path)]
        return [text for pattern, text in matching if pattern.octets == matching[0][0].octets]


def parse(body: bytes, agent: str) -> RobotsTxt:
    """What a robots.txt, of which the first MiB counts, says to the product token `agent`. Never raises.

    All groups that name the agent are one; with none, those for `*` are. Lines that mean nothing here
    part no groups (section 2.2.4). Delays are given in the group too: the longest asked for counts.
    """
    if len(body) > PARSED_BYTES:
        body = body[: max(body.rfind(b"\n", 0, PARSED_BYTES), body.rfind(b"\r", 0, PARSED_BYTES)) + 1]
    lines = list(_lines(body.removeprefix(b"\xef\xbb\xbf")))
    ours = _agent(agent)
    ours = ours if ours in _agents(lines) else "*"
    selected = list(_of_group(lines, ours))
    rules = [(pattern_of(value), True) for label, value in selected if label == "allow" and value]
    rules += [(pattern_of(value), False) for label, value in selected if label in DISALLOW_LABELS and value]
    usage = [_usage(value) for label, value in selected if label in USAGE_LABELS and value]
    return RobotsTxt(
        rules=tuple(sorted(rules, key=lambda rule: (-rule[0].octets, not rule[1]))),
        delay_seconds=max((_delay(label, value) for label, value in selected), default=0.0),
        sitemaps=tuple(dict.fromkeys(value for label, value in lines if label == "sitemap" and value)),
        usage=tuple(sorted(usage, key=lambda statement: -statement[0].octets)),
    )


def _lines(body: bytes) -> Iterator[tuple[str, str]]:
    """Label and value of each line, comments cut off. As many a parser does, a blank is taken for a
    forgotten colon; octets that are no UTF-8 are kept as they are."""
    for line in LINE_END.split(body):
        text = line.partition(b"#")[0].decode("utf-8", errors="surrogateescape").strip(" \t\0")
        label, colon, value = text.partition(":")
        if not colon:
            label, _, value = text.replace("\t", " ").partition(" ")
        yield label.rstrip(" \t").lower(), value.strip(" \t")


def _agents(lines: list[tuple[str, str]]) -> set[str]:
    return {_agent(value) for label, value in lines if label in AGENT_LABELS}


def _agent(value: str) -> str:
    """The product token that a User-agent line names: letters, `_` and `-` (section 2.2.1), or `*`."""
    if value == "*" or value.startswith(("* ", "*\t")):
        return "*"
    token = PRODUCT.match(value)
    return token[0].lower() if token else ""


def _of_group(lines: list[tuple[str, str]], agent: str) -> Iterator[tuple[str, str]]:
    """The lines of all groups that name the agent. A group is User-agent lines and the rules after them."""
    names: set[str] = set()
    has_rules = False
    for label, value in lines:
        if label in AGENT_LABELS:
            if has_rules:
                names, has_rules = set(), False
            names.add(_agent(value))
        elif agent in names:
            yield label, value
        if label in RULE_LABELS:
            has_rules = True


def pattern_of(path: str) -> Pattern:
    """A path as a rule of robots.txt writes it: a prefix in which `*` is anything and a last `$` the end."""
    text = re.sub(r"\*+", "*", normalized(path))
    return Pattern(text[:-1].replace("$", "%24") + text[-1:])


def _usage(value: str) -> tuple[Pattern, str]:
    """A path, if it begins with one, and the preference (draft-ietf-aipref-attach-05, section 3)."""
    if not value.startswith("/"):
        return Pattern("/"), value
    path, *rest = value.split(maxsplit=1)
    return pattern_of(path), rest[0] if rest else ""


def _delay(label: str, value: str) -> float:
    if label == "crawl-delay":
        try:
            seconds = float(value)
        except ValueError:
            return 0.0
        return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
    rate = RATE.match(value) if label == "request-rate" else None
    if rate is None or int(rate[1]) == 0:
        return 0.0
    return int(rate[2]) * UNIT_SECONDS[rate[3].lower()] / int(rate[1])


def path_of(url: str) -> str:
    """A URL's path and query, as patterns are held against them."""
    rest = url.partition("#")[0].partition("//")[2]
    cut = re.search(r"[/?]", rest)
    path = rest[cut.start() :] if cut else ""
    return normalized(path if path.startswith("/") else f"/{path}").replace("*", "%2A").replace("$", "%24")


def normalized(text: str) -> str:
    """With escapes in capitals and only where they are needed, so that equal paths are equal texts.
    An escaped reserved character stays another one than the character itself (section 2.2.2)."""
    if "%" in text:
        text = ESCAPE.sub(_unescaped, text)
    return TO_ESCAPE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    try:
        octets = found[0].encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, as JSON may write it
        octets = found[0].encode("utf-8", "replace")
    return "".join(f"%{octet:02X}" for octet in octets)


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in UNRESERVED else found[0].upper()
