"""A preference written down, to see what a model makes of it: an answer names the thing asked about, ends by
itself and is short.

It labels pairs of answers, and judges the models in the end; no reward model, GRPO or PPO ever calls it.
"""

import re

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
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-zà-ÿ]+")
LEAST_LETTERS = 3


def names_it_and_ends(prompt, answer, ended, tokens, **row):
    """From 0 to 3: the share of the words of its name that the answer repeats, 1 if it ended by itself, 1
    for at most 60 tokens."""
    words = words_of(thing_asked(prompt[-1]["content"]))
    said = answer.casefold()
    named = sum(word in said for word in words) / len(words) if words else 0.0
    return named + float(ended) + float(tokens <= MOST_TOKENS)


def thing_asked(question):
    """What stands in backticks, without what it belongs to; of other questions the topic."""
    quoted = QUOTED.search(question)
    if quoted:
        return quoted[1].removesuffix("()").rpartition(".")[2]
    beginning = next((each for each in ASKING if question.casefold().startswith(each)), "")
    return question[len(beginning) :].strip(" ?.!")


def words_of(name):
    """The words of a name in CamelCase or with underscores, or of a topic: those of three letters or more,
    if there are any."""
    words = [word.casefold() for word in WORD.findall(name)]
    return [word for word in words if len(word) >= LEAST_LETTERS] or words
