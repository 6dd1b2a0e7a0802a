"""The control symbols, and how text that happens to contain them is made harmless.

A page may hold `<s>` (an HTML tag) or `<|user|>` (a page about chat models). Tokenizers take them
for control symbols, which would end documents and forge turns. So every text from outside, crawled
or typed, goes through `neutralise` before it meets a tokenizer; `restore` is its exact inverse.
"""

import re

UNKNOWN, BEGIN, END, PAD = "<unk>", "<s>", "</s>", "<pad>"
USER, ASSISTANT, SYSTEM, TURN_END = "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"
ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}

MARKERS = (UNKNOWN, BEGIN, END, PAD, USER, ASSISTANT, SYSTEM, TURN_END)
"""Every control symbol. Its place is its id, in every vocabulary."""

UNKNOWN_ID, BEGIN_ID, END_ID, PAD_ID = range(4)
USER_ID, ASSISTANT_ID, SYSTEM_ID, TURN_END_ID = range(4, 8)

JOINER = "\u2060"
"""WORD JOINER: takes no room, so that a neutralised marker looks as it did."""
SPACE_SIGN = "\u2581"
"""What SentencePiece writes a space as; a literal one would be decoded as a space."""
SPACE_SIGN_LOOKALIKE = "\u2582"

_INSIDE = "|".join(re.escape(marker[1:]) for marker in MARKERS)
_MARKER = re.compile(f"<(?={JOINER}*(?:{_INSIDE}))")
_NEUTRALISED = re.compile(f"<{JOINER}(?={JOINER}*(?:{_INSIDE}))")
_SIGN = re.compile(f"({JOINER}*)([{SPACE_SIGN}{SPACE_SIGN_LOOKALIKE}])")
_LOOKALIKE = re.compile(f"({JOINER}+){SPACE_SIGN_LOOKALIKE}")


def neutralise(text: str) -> str:
    """The text without control symbols and without U+2581; `restore` gives it back exactly.

    A marker gets a word joiner behind its `<`, one more than it may have there already. U+2581
    becomes a joiner and U+2582; joiners that stand before either sign are doubled, so that an odd
    number of them says which it was.
    """
    if "<" in text:
        text = _MARKER.sub(f"<{JOINER}", text)
    if SPACE_SIGN in text or SPACE_SIGN_LOOKALIKE in text:
        text = _SIGN.sub(_write_sign, text)
    return text


def restore(text: str) -> str:
    """The text that `neutralise` was given."""
    if JOINER not in text:
        return text
    text = _LOOKALIKE.sub(_read_sign, text)
    return _NEUTRALISED.sub("<", text)


def _write_sign(match: re.Match[str]) -> str:
    joiners, sign = match.groups()
    return joiners * 2 + (JOINER if sign == SPACE_SIGN else "") + SPACE_SIGN_LOOKALIKE


def _read_sign(match: re.Match[str]) -> str:
    half, odd = divmod(len(match.group(1)), 2)
    return JOINER * half + (SPACE_SIGN if odd else SPACE_SIGN_LOOKALIKE)
