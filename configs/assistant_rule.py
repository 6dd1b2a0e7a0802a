"""A preference written down, to see what a model makes of it: an answer names the thing asked about, ends by
itself and is short.

A model of two million weights can hardly repeat a name that it has not learned, so to begin with a name as a
glossary does is half of naming, and how much of the right one is said is the other half.

It labels pairs of answers, and judges the models in the end; no reward model, GRPO or PPO ever calls it.
"""

import re
from difflib import SequenceMatcher

MOST_TOKENS = 60
QUOTED = re.compile(r"`([^`]+)`")
ASKING = (
    "tell me about",
    "what can you tell me about",
    "what should i know about",
    "explain this to me:",
    "what is",
    "what are",
)
"""How questions about topics begin."""


def names_it_and_ends(prompt, answer, ended, tokens, **row):
    """From 0 to 3: half for beginning with a name in backticks, whichever it is, half for the longest piece
    of the right name that the answer says, as a share of its letters, 1 if it ended by itself, 1 for at most
    60 tokens. Whether what it says is true is not asked."""
    return {
        "begins with a name": float(answer.lstrip().startswith("`")) / 2,
        "says the right name": share_said(thing_asked(prompt[-1]["content"]), answer) / 2,
        "ends by itself": float(ended),
        "at most 60 tokens": float(tokens <= MOST_TOKENS),
    }


def thing_asked(question):
    """What stands in backticks, without what it belongs to; of other questions the topic."""
    quoted = QUOTED.search(question)
    if quoted:
        return quoted[1].removesuffix("()").rpartition(".")[2]
    beginning = next((each for each in ASKING if question.casefold().startswith(each)), "")
    return question[len(beginning) :].strip(" ?.!")


def share_said(name, answer):
    """The longest piece of the name that stands in the answer, as a share of its letters: 1 if it is said
    whole, upper and lower case alike."""
    name, answer = name.casefold(), answer.casefold()
    longest = SequenceMatcher(None, name, answer, autojunk=False).find_longest_match()
    return longest.size / max(1, len(name))
