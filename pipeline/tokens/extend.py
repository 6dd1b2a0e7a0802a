"""New pieces for a tokenizer that is there: joins of its own pieces that are frequent in a corpus.

BPE goes on where it stopped: it is learned on sequences of old pieces, and its merges come behind the
old ones, so a text is cut as before, and then some neighbours are joined. Every old piece keeps its id.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline.errors import InputError
from pipeline.tokens.markers import SPACE_SIGN
from pipeline.tokens.pieces import BYTE

FIRST = 0x10000
"""Code point of the letter that stands for id 0 while merges are learned."""
SPACES = re.compile(f"{SPACE_SIGN}{{2,}}")
LEAST_FREQUENT = 2
BETTER = 1 / 32
"""A unigram piece's score is so much over those of its two parts together: joined rather than apart, and
less likely than either."""


class CannotExtendError(InputError):
    """The tokenizer that was given is of a kind that cannot get more pieces."""

    remedy = "Set vocabulary.extend to 0, or name a tokenizer of BPE or unigram."


def extended(fast: Tokenizer, texts: Iterable[str], pieces: int) -> Tokenizer:
    """The tokenizer with up to so many pieces more, with the ids behind all others; fewer if the texts have
    fewer joins that stand there twice. Pieces join within words alone. Its ids must have no gaps.
    Raises CannotExtendError.
    """
    made = json.loads(fast.to_str())
    model = made["model"]
    if model["type"] not in ("BPE", "Unigram"):
        raise CannotExtendError(
            f"vocabulary.extend is {pieces}, but the tokenizer is of the kind {model['type']}; set it to 0, "
            "or name a tokenizer of BPE or unigram"
        )
    vocabulary = fast.get_vocab(with_added_tokens=True)
    names = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = _learned(fast, texts, pieces, len(names))
    joins = [(_spelt(left, names), _spelt(right, names)) for left, right in merges]
    # Added tokens have ids behind the model's own pieces: in the model, too, they keep them.
    if model["type"] == "BPE":
        model["vocab"] = {name: index for index, name in enumerate(names)}
        _extend_bpe(model, joins, len(names))
    else:
        added = names[len(model["vocab"]) :]
        lowest = min(score for _, score in model["vocab"])
        model["vocab"] += [[name, lowest] for name in added]
        _extend_unigram(model, joins)
    result: Tokenizer = Tokenizer.from_str(json.dumps(made))
    return result


def _extend_bpe(model: Any, joins: Sequence[tuple[str, str]], first: int) -> None:
    for left, right in joins:
        if left + right not in model["vocab"]:
            model["vocab"][left + right] = first
            first += 1
            model["merges"].append([left, right])


def _extend_unigram(model: Any, joins: Sequence[tuple[str, str]]) -> None:
    scores = {name: score for name, score in model["vocab"]}
    for left, right in joins:
        if left + right not in scores:
            scores[left + right] = scores[left] + scores[right] + BETTER
            model["vocab"].append([left + right, scores[left + right]])


def _learned(fast: Tokenizer, texts: Iterable[str], pieces: int, ids: int) -> list[tuple[str, str]]:
    """The merges in their order: BPE over words whose letters stand for old pieces."""
    learner: Any = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=ids + pieces,
        min_frequency=LEAST_FREQUENT,
        initial_alphabet=[chr(FIRST + index) for index in range(ids)],
        show_progress=False,
    )
    learner.train_from_iterator((" ".join(_words(fast, text)) for text in texts), trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def _words(fast: Tokenizer, text: str) -> Iterator[str]:
    """A text's words, each a letter for every piece. Runs of spaces are left out, markers, and single bytes:
    joined, `<0xC3><0xA7>` would be text."""
    found = fast.encode(text, add_special_tokens=False)
    word, before = "", None
    for index, name, place in zip(found.ids, found.tokens, found.word_ids, strict=True):
        joinable = place is not None and not BYTE.fullmatch(name) and not SPACES.fullmatch(name)
        begins = place != before or name.startswith(SPACE_SIGN)
        if word and (begins or not joinable):
            yield word
            word = ""
        word += chr(FIRST + index) if joinable else ""
        before = place
    if word:
        yield word


def _spelt(letters: str, names: Sequence[str]) -> str:
    return "".join(names[ord(letter) - FIRST] for letter in letters)
