"""From the likeliest next pieces to the likeliest next *words*.

A model foretells pieces; a reader thinks in words. Pieces are followed, the likeliest first, until
the word ends, and what a word can be spelt with in several ways is added up.
"""

import heapq
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.generation import context_tokens, encode, piece_bytes
from pipeline.models.recurrent import RecurrentForCausalLM
from pipeline.models.words import is_word_character, leading_word

FOLLOWED_AT_ONCE = 32
MOST_PIECES = 12
LEAST_PROBABILITY = 1e-6


def next_words(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, top: int = 10
) -> list[tuple[str, float]]:
    """The `top` likeliest next words after `text`, with their probabilities. See `NextWords`."""
    return NextWords(model, tokenizer).after(text, top)


@dataclass(frozen=True)
class Prefix:
    """The beginning of a next word, still open."""

    ids: tuple[int, ...]
    word: str
    """Its letters so far; without the white space before it."""
    spaced: bool
    """White space has come since the text."""
    pending: bytes
    """The first bytes of a character whose other bytes are still to come."""


class NextWords:
    """Likeliest next words of one model; keeps what depends on the vocabulary alone.

    A word is a run of letters, digits, marks and underscores. Its probability is that of its
    pieces times the probability that the word ends there: that the next piece begins with
    anything else, or is a marker. White space may stand before it, and must where `text` ends
    in a word or in a space. What is not a word next (punctuation, the end) takes the rest of 1.

    The search is best first and ends when no open prefix is likelier than the last of the `top`.
    Left out are words below `least`, and the share of spellings that fall below it or come up
    after the end of the search.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, least: float = LEAST_PROBABILITY
    ) -> None:
        self.model, self.tokenizer, self.least = model, tokenizer, least
        self.pieces = piece_bytes(tokenizer)
        self.texts = [_whole_characters(piece) for piece in self.pieces]
        """The piece's characters; None where it is a part of one. A marker is empty."""
        self.ends_V = np.array([text is not None and not is_word_character(text[:1]) for text in self.texts])
        """Where a word that has begun is over when this piece comes."""

    def after(self, text: str, top: int = 10, most_pieces: int = MOST_PIECES) -> list[tuple[str, float]]:
        """The likeliest words and their probabilities, descending; equals by alphabet."""
        stripped = text.rstrip(" ")
        needs_space = stripped != text or is_word_character(stripped[-1:])
        ids = encode(self.tokenizer, stripped)[-(context_tokens(self.model) - most_pieces) :]
        search = _Search(self, ids, needs_space, top, most_pieces)
        return search.run()


class _Search:
    """One best-first search. `open` holds (-probability, tie, prefix)."""

    def __init__(
        self, words: NextWords, ids: list[int], needs_space: bool, top: int, most_pieces: int
    ) -> None:
        self.words, self.needs_space, self.top, self.most_pieces = words, needs_space, top, most_pieces
        self.found: defaultdict[str, float] = defaultdict(float)
        self.ties = itertools.count()
        follow = _ReadAnew if isinstance(words.model, RecurrentForCausalLM) else _Continuations
        self.forward = follow(words.model, ids)
        root = Prefix(ids=(), word="", spaced=False, pending=b"")
        self.open: list[tuple[float, int, Prefix]] = [(-1.0, next(self.ties), root)]

    def run(self) -> list[tuple[str, float]]:
        while batch := self._likeliest_open():
            probabilities_BV = self.forward.probabilities([prefix.ids for _, prefix in batch])
            for (probability, prefix), next_V in zip(batch, probabilities_BV, strict=True):
                self._follow(prefix, probability * next_V)
        ranked = sorted(self.found.items(), key=lambda item: (-item[1], item[0]))
        return ranked[: self.top]

    def _bar(self) -> float:
        """What a prefix must exceed to be worth following."""
        if len(self.found) < self.top:
            return self.words.least
        return max(self.words.least, heapq.nlargest(self.top, self.found.values())[-1])

    def _likeliest_open(self) -> list[tuple[float, Prefix]]:
        bar = self._bar()
        batch: list[tuple[float, Prefix]] = []
        while self.open and len(batch) < FOLLOWED_AT_ONCE:
            negative, _, prefix = heapq.heappop(self.open)
            if -negative <= bar:
                self.open.clear()
                break
            batch.append((-negative, prefix))
        return batch

    def _follow(self, prefix: Prefix, joint_V: NDArray[np.float64]) -> None:
        """Add up the words that end after `prefix`, and open what may come of it."""
        if prefix.word and not prefix.pending:
            self.found[prefix.word] += float(joint_V[self.words.ends_V].sum())
        bar = self._bar()
        for token in np.flatnonzero(joint_V > bar).tolist():
            if not (prefix.word and not prefix.pending and self.words.ends_V[token]):
                self._extend(prefix, token, float(joint_V[token]))

    def _extend(self, prefix: Prefix, token: int, probability: float) -> None:
        """One piece further: a word that ends inside it, a longer prefix, or nothing."""
        if not self.words.pieces[token]:
            return
        text, pending = _decode(prefix.pending + self.words.pieces[token])
        if text is None:
            return
        spaced = prefix.spaced
        if not prefix.word:
            letters = text.lstrip()
            spaced = spaced or len(letters) < len(text)
            text = letters
            if self.needs_space and not spaced:
                return
        begun, rest = leading_word(text)
        word = prefix.word + begun
        if rest:
            if word:
                self.found[word] += probability
        elif len(prefix.ids) + 1 < self.most_pieces:
            longer = Prefix((*prefix.ids, token), word, spaced, pending)
            heapq.heappush(self.open, (-probability, next(self.ties), longer))


class _ReadAnew:
    """Next-piece probabilities after a fixed text and each of several short endings, of a model that keeps no
    keys and values: the text is read with each of them."""

    def __init__(self, model: PreTrainedModel, ids: list[int]) -> None:
        self.model, self.ids = model, ids

    @torch.inference_mode()
    def probabilities(self, endings: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        """Shape (endings, V), float64."""
        longest = max(map(len, endings))
        ids_BT = torch.tensor([[*self.ids, *ids, *([0] * (longest - len(ids)))] for ids in endings])
        logits_BTV = self.model(input_ids=ids_BT.to(self.model.device)).logits
        last_B = torch.tensor([len(self.ids) + len(ids) - 1 for ids in endings])
        logits_BV = logits_BTV[torch.arange(len(endings)), last_B.to(logits_BTV.device)]
        return np.asarray(logits_BV.double().softmax(-1).cpu().numpy())


class _Continuations:
    """The same of a model with attention: the text is read once, its keys and values are shared by all
    endings."""

    def __init__(self, model: PreTrainedModel, ids: list[int]) -> None:
        self.model, self.text_tokens = model, len(ids)
        with torch.inference_mode():
            self.cache: Any = DynamicCache(config=model.config)
            logits = model(
                input_ids=torch.tensor([ids], device=model.device),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
        self.first_1V = logits[:, -1].double().softmax(-1).cpu().numpy()

    @torch.inference_mode()
    def probabilities(self, endings: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        """Shape (endings, V), float64."""
        if endings == [()]:
            return np.asarray(self.first_1V)
        longest = max(map(len, endings))
        # Padding stands to the right of what is asked for, so causal attention never sees it.
        ids_BT = torch.tensor([[*ids, *([0] * (longest - len(ids)))] for ids in endings])
        shared = DynamicCache(
            [
                (layer.keys.expand(len(endings), -1, -1, -1), layer.values.expand(len(endings), -1, -1, -1))
                for layer in self.cache.layers
            ]
        )
        positions_BT = torch.arange(self.text_tokens, self.text_tokens + longest).expand(len(endings), -1)
        logits_BTV = self.model(
            input_ids=ids_BT.to(self.model.device),
            position_ids=positions_BT.to(self.model.device),
            past_key_values=shared,
            use_cache=True,
        ).logits
        last_B = torch.tensor([len(ids) - 1 for ids in endings])
        logits_BV = logits_BTV[torch.arange(len(endings)), last_B.to(logits_BTV.device)]
        return np.asarray(logits_BV.double().softmax(-1).cpu().numpy())


def _whole_characters(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _decode(data: bytes) -> tuple[str | None, bytes]:
    """The whole characters in `data` and the bytes of an unfinished last one; None if it is no UTF-8."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode(), data[error.start :]
        return None, b""
