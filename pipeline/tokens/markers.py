"""The control symbols, and how text that happens to contain them is made harmless.

A page may hold `<s>` (an HTML tag) or `<|user|>` (a page about chat models). Tokenizers take them
for control symbols, which would end documents and forge turns. So every text from outside, crawled
or typed, goes through `neutralise` before it meets a tokenizer; `restore` is its exact inverse.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN, BEGIN, END, PAD = "<unk>", "<s>", "</s>", "<pad>"
USER, ASSISTANT, SYSTEM, TURN_END = "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"
ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}

MARKERS = (UNKNOWN, BEGIN, END, PAD, USER, ASSISTANT, SYSTEM, TURN_END)
"""Every control symbol. Its place is its id, in every vocabulary that was learned here."""

UNKNOWN_ID, BEGIN_ID, END_ID, PAD_ID = range(4)
"""In a vocabulary that was learned here; of any other its encoder and its tokenizer tell."""
USER_ID, ASSISTANT_ID, SYSTEM_ID, TURN_END_ID = range(4, 8)

JOINER = "\u2060"
"""WORD JOINER: takes no room, so that a neutralised marker looks as it did."""
SPACE_SIGN = "\u2581"
"""What SentencePiece writes a space as; a literal one would be decoded as a space."""
SPACE_SIGN_LOOKALIKE = "\u2582"

_SIGN = re.compile(f"({JOINER}*)([{SPACE_SIGN}{SPACE_SIGN_LOOKALIKE}])")
_LOOKALIKE = re.compile(f"({JOINER}+){SPACE_SIGN_LOOKALIKE}")


def neutralise(text: str, markers: tuple[str, ...] = MARKERS) -> str:
    """The text without control symbols and without U+2581; `restore` gives it back exactly.

    A marker gets a word joiner behind its first character, one more than it may have there already.
    U+2581 becomes a joiner and U+2582; joiners that stand before either sign are doubled, so that an odd
    number of them says which it was. `markers` are those of the tokenizer, if it is not one of ours.
    """
    patterns = _patterns(markers)
    if any(first in text for first in patterns.firsts):
        text = patterns.marker.sub(rf"\g<0>{JOINER}", text)
    if SPACE_SIGN in text or SPACE_SIGN_LOOKALIKE in text:
        text = _SIGN.sub(_write_sign, text)
    return text


def restore(text: str, markers: tuple[str, ...] = MARKERS) -> str:
    """The text that `neutralise` was given, with the same markers."""
    if JOINER not in text:
        return text
    text = _LOOKALIKE.sub(_read_sign, text)
    return _patterns(markers).neutralised.sub("", text)


def markers_of(tokenizer: "PreTrainedTokenizerBase", ours: tuple[str, ...] = MARKERS) -> tuple[str, ...]:
    """What text must not be taken for: ours, and every special token of the tokenizer, sorted."""
    special = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(sorted({*ours, *special}))


@dataclass(frozen=True)
class _Patterns:
    """For one set of markers."""

    firsts: tuple[str, ...]
    """Characters that a marker begins with."""
    marker: re.Pattern[str]
    """The first character of a marker that may have joiners behind it."""
    neutralised: re.Pattern[str]
    """The same with the joiner that it got."""


@cache
def _patterns(markers: tuple[str, ...]) -> _Patterns:
    rests: dict[str, list[str]] = {}
    for marker in markers:
        rests.setdefault(marker[0], []).append(re.escape(marker[1:]))
    ways = [(re.escape(first), f"(?={JOINER}*(?:{'|'.join(rest)}))") for first, rest in rests.items()]
    return _Patterns(
        tuple(rests),
        re.compile("|".join(first + behind for first, behind in ways)),
        re.compile("|".join(f"(?<={first}){JOINER}{behind}" for first, behind in ways)),
    )


def _write_sign(match: re.Match[str]) -> str:
    joiners, sign = match.groups()
    return joiners * 2 + (JOINER if sign == SPACE_SIGN else "") + SPACE_SIGN_LOOKALIKE


def _read_sign(match: re.Match[str]) -> str:
    half, odd = divmod(len(match.group(1)), 2)
    return JOINER * half + (SPACE_SIGN if odd else SPACE_SIGN_LOOKALIKE)
