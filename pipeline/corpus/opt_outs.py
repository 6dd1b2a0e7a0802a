"""Opt-outs: what a page, its answer or its site says about being stored and followed.

The crawl, the archives in its place and those among the sources are held to it alike. Once a page came:

    found = opt_outs(headers, metas, agent, url, tdmrep=rule_for(url, rules), robots=robots.statements(url))
    reason = found.forbids_storing(honoured)     # not None: its outcome is `opt-out`, with this detail
    if found.forbids_following(honoured): ...    # its links are left
    visit.opt_outs = found.text()                # stored with the page, whatever was honoured

`headers` are names and values in order, a header that was sent twice stands there twice. The outcome
`opt-out` stores no page, but its links are followed unless they are forbidden too. 6 µs a page with
nothing to be found, 26 µs with one of each kind.

Read are: X-Robots-Tag and `<meta name="robots">` (also under our own name; all that concern us are added
up, the strictest counts, as Google documents it), TDMRep (W3C Community Group report of 10 May 2024),
the Content-Usage of the IETF's AIPREF drafts and Cloudflare's Content-Signal, in headers and robots.txt.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin

from pipeline.config import Config

TEXT_CHARACTERS = 2_000
"""Of what is stored with a page; enough for a dozen statements and a policy's URL."""

ROBOTS_DIRECTIVES = frozenset({"noindex", "nofollow", "noai", "noimageai", "noarchive"})
VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
"""Directives that are followed by a colon, as the name of a crawler is."""
AGENT = "moinho"
"""The name by which pages address us (the product token of RFC 9309)."""
ADDRESSED = re.compile(r"\s*([^\s,:]+)\s*:(.*)", re.DOTALL)
PREFERENCE = re.compile(r"(?:^|[,;\s])([a-z][a-z0-9_*.-]*)\s*=\s*([a-z]+)", re.IGNORECASE)
TRAINING = frozenset({("train-ai", "n"), ("ai-train", "no")})
"""What says no to the training of models: in AIPREF's vocabulary, in Content-Signal's."""


class Honoured(Config):
    """Which opt-outs are obeyed. Each that is found is stored with the page all the same."""

    noindex: bool = True
    """Pages that do not want to be in an index are not stored."""
    nofollow: bool = True
    """Links of pages that ask for it are not followed."""
    noai: bool = True
    """Pages that do not want models to be trained on them are not stored."""
    noimageai: bool = False
    """The same said of a page's images alone, which are not fetched anyway."""
    noarchive: bool = False
    """Pages that do not want to be shown from a copy are not stored."""
    tdmrep: bool = True
    """Pages whose rights to text and data mining are reserved are not stored (TDMRep)."""
    content_usage: bool = True
    """Pages whose Content-Usage or Content-Signal says no to training are not stored."""


@dataclass(frozen=True)
class TdmStatement:
    """What a tdmrep.json says of a URL."""

    reserved: bool
    policy: str | None


@dataclass(frozen=True)
class OptOuts:
    """What was found, as (where, what): ("header", "noai"), ("tdmrep.json", "tdm-reservation=1")."""

    found: tuple[tuple[str, str], ...] = ()

    def text(self) -> str | None:
        """`header:noai meta:noindex`, sorted, in at most TEXT_CHARACTERS; None if nothing was found."""
        words: list[str] = []
        room = TEXT_CHARACTERS
        for word in sorted({f"{where}:{what}" for where, what in self.found}):
            room -= len(word) + 1
            if room >= 0:
                words.append(word)
        return " ".join(words) or None

    def forbids_storing(self, honoured: Honoured) -> str | None:
        """Which opt-out does, for the crawl log; None if none does."""
        return next((f"{what} ({where})" for where, what in self.found if _forbids(what, honoured)), None)

    def forbids_following(self, honoured: Honoured) -> bool:
        return honoured.nofollow and any(what == "nofollow" for _, what in self.found)


def _forbids(what: str, honoured: Honoured) -> bool:
    match what:
        case "noindex" | "noai" | "noimageai" | "noarchive":
            return bool(getattr(honoured, what))
        case "tdm-reservation=1":
            return honoured.tdmrep
    return honoured.content_usage and tuple(what.split("=", 1)) in TRAINING


def opt_outs(
    headers: Iterable[tuple[str, str]],
    metas: Iterable[tuple[str, str]],
    agent: str,
    url: str,
    tdmrep: TdmStatement | None = None,
    robots: Iterable[str] = (),
) -> OptOuts:
    """All that is said about the page. `metas`: names in lower case and contents. `agent`:
    our product token. `tdmrep`, `robots`: what the site's tdmrep.json and the preferences in its robots.txt
    say of this URL. Never raises."""
    read = [(name.lower(), value) for name, value in headers]
    metas = list(metas)
    found = [
        ("header", each) for name, value in read if name == "x-robots-tag" for each in _tags(value, agent)
    ]
    own = ("robots", agent.lower())
    found += [("meta", each) for name, content in metas if name in own for each in _directives(content)]
    found += _tdm(read, metas, url, tdmrep)
    for where, statements in (
        ("header", [value for name, value in read if name in ("content-usage", "content-signal")]),
        ("robots.txt", robots),
    ):
        found += [(where, each) for statement in statements for each in _preferences(statement)]
    return OptOuts(tuple(dict.fromkeys(found)))


def _directives(text: str) -> list[str]:
    """Those of ROBOTS_DIRECTIVES in a list separated by commas (or blanks, as often written)."""
    words = re.split(r"[,;\s]+", text.lower())
    both = ["noindex", "nofollow"] if "none" in words else []
    return both + [word for word in words if word in ROBOTS_DIRECTIVES]


def _tags(value: str, agent: str) -> list[str]:
    """The directives of an X-Robots-Tag for us. After `name:` they are for that crawler, up to the next
    name: servers and proxies join several such headers with a comma."""
    found: list[str] = []
    ours = True
    for piece in value.split(","):
        prefix = ADDRESSED.match(piece)
        if prefix is not None and prefix[1].lower() not in VALUED:
            ours = prefix[1].lower() in (agent.lower(), "robots", "*")
            piece = prefix[2]
        if ours and (prefix is None or prefix[1].lower() not in VALUED):
            found += _directives(piece)
    return found


def _preferences(statement: str) -> list[str]:
    return [f"{name.lower()}={value.lower()}" for name, value in PREFERENCE.findall(statement)]


# --- TDMRep ---


def reserved_by(text: str) -> bool | None:
    """Other values are errors, by which nothing is said."""
    return {"1": True, "0": False}.get(text.strip())


def _tdm(
    headers: list[tuple[str, str]], metas: list[tuple[str, str]], url: str, of_site: TdmStatement | None
) -> list[tuple[str, str]]:
    """What the page itself says goes before its answer's header, and that before the site's file (TDMRep,
    section on processing priority). `tdm-reservation=0` is found as well: it is a statement. A page that
    the file reserves is not fetched at all (`Answers.refusal` says why)."""
    for where, pairs in (("meta", metas), ("header", headers)):
        said = {name: value.strip() for name, value in reversed(pairs) if name.startswith("tdm-")}
        reserved = reserved_by(said.get("tdm-reservation", ""))
        if reserved is not None:
            return _said(where, reserved, said.get("tdm-policy"), url)
    return [] if of_site is None else _said("tdmrep.json", of_site.reserved, of_site.policy, url)


def _said(where: str, reserved: bool, policy: str | None, url: str) -> list[tuple[str, str]]:
    found = [(where, f"tdm-reservation={int(reserved)}")]
    if policy:
        try:
            joined = urljoin(url, policy)
        except ValueError:
            return found
        found.append((where, f"tdm-policy={joined.translate({9: None, 10: None, 13: None, 32: '%20'})}"))
    return found
