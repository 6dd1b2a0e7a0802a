"""Personal data and secrets in a text: found, counted, and replaced by fixed placeholders.

What a placeholder stands for is the same in every document, so the outcome depends neither on the order of
documents nor on how they are spread; what was replaced is kept nowhere. Replacing twice changes
nothing more: kinds are replaced one after the other, first those that have words in them (secrets,
e-mail addresses), then those of digits, and whether something is found depends on itself, on the
signs next to it and on words before it in which no later kind can be (personal/matching.py).

Names, postal addresses and dates of birth are not looked for: telling them from other words takes
a model (docs/privacy.md).
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, partial

from pipeline.config import Config
from pipeline.corpus.personal import addresses, credentials, numbers, phones
from pipeline.corpus.personal.matching import PLACEHOLDERS, Find, Kind, number_zones


class PrivacyConfig(Config):
    """Which kinds of personal data are replaced in the documents that are kept."""

    secret: bool = True
    """Keys, tokens and passwords, by `[secret]`."""
    email: bool = True
    """E-mail addresses, by `[email]`."""
    card: bool = True
    """Numbers of payment cards, by `[card]`."""
    cpf: bool = True
    """Brazilian taxpayers' numbers (CPF), by `[cpf]`."""
    cnpj: bool = True
    """Brazilian firms' numbers (CNPJ), by `[cnpj]`; one-person firms have one too."""
    ip: bool = True
    """IP addresses, by `[ip]`."""
    phone: bool = True
    """Telephone numbers, by `[phone]`."""
    reserved_ip: bool = False
    """Also IP addresses that belong to nobody: private, loopback, documentation, multicast. They lead to
    no person, and technical documentation says much with them (127.0.0.1, 192.168.0.1, 192.0.2.1)."""


def replace_personal(text: str, config: PrivacyConfig) -> tuple[str, dict[Kind, int]]:
    """The text with placeholders, and how many of each kind; kinds that are not found are left out.

    Idempotent, a pure function of its arguments, linear in the length of the text.
    """
    counts: Counter[Kind] = Counter()
    for kind, find in _with_words(config):
        text = _replace(text, kind, find, counts)
    pieces, end = [], 0
    for start, stop in number_zones(text):
        zone = text[start:stop]
        for kind, find in _of_digits(config):
            zone = _replace(zone, kind, find, counts)
        pieces += [text[end:start], zone]
        end = stop
    return "".join([*pieces, text[end:]]) if pieces else text, dict(counts)


def _replace(text: str, kind: Kind, find: Find, counts: Counter[Kind]) -> str:
    spans = [*find(text)]
    if not spans:
        return text
    counts[kind] += len(spans)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return PLACEHOLDERS[kind].join(text[end:start] for end, start in zip(ends, starts, strict=True))


@cache
def _with_words(config: PrivacyConfig) -> Sequence[tuple[Kind, Find]]:
    """How kinds with letters in them are found, in the order in which they are replaced."""
    found: Sequence[tuple[Kind, Sequence[Find]]] = (
        (
            "secret",
            (
                *credentials.ISSUED,
                credentials.blocks,
                credentials.passwords_in_urls,
                credentials.assigned,
                credentials.bearers,
            ),
        ),
        ("email", (addresses.emails, addresses.spelt_out_emails)),
        ("cnpj", (numbers.cnpjs_of_letters,)),
        ("ip", (partial(addresses.ipv6, reserved=config.reserved_ip),)),
    )
    return _that_are_on(config, found)


@cache
def _of_digits(config: PrivacyConfig) -> Sequence[tuple[Kind, Find]]:
    """How kinds are found that are digits and what stands between digits, in their order."""
    found: Sequence[tuple[Kind, Sequence[Find]]] = (
        ("card", (numbers.cards,)),
        ("cpf", (numbers.cpfs,)),
        ("cnpj", (numbers.cnpjs,)),
        ("ip", (partial(addresses.ipv4, reserved=config.reserved_ip),)),
        ("phone", (phones.international, phones.in_brackets, phones.plain, phones.spoken_of)),
    )
    return _that_are_on(config, found)


def _that_are_on(
    config: PrivacyConfig, found: Sequence[tuple[Kind, Sequence[Find]]]
) -> Sequence[tuple[Kind, Find]]:
    return [(kind, find) for kind, finders in found if getattr(config, kind) for find in finders]
