"""What the page shows of a model's inside, as JSON: one look at a time, since each takes memory and time."""

import threading
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.insight.attention import attention, from_word
from pipeline.evaluation.insight.candidates import expectations
from pipeline.evaluation.insight.neighbours import WordVectors
from pipeline.evaluation.insight.occlusion import foretold, occlusion
from pipeline.evaluation.insight.similarity import similarity
from pipeline.evaluation.insight.spelled import spell

TOP = 10
MOST_CHARACTERS = 2000
"""Of a text to look into: what is kept of attention grows with its square."""

Kind = Literal["next", "attention", "without", "similar", "near"]


class Looked(BaseModel):
    """What to look into; each kind of look takes what it needs."""

    model: str
    text: str = Field(max_length=MOST_CHARACTERS)
    word: str = Field(default="", max_length=MOST_CHARACTERS)
    other: str = Field(default="", max_length=MOST_CHARACTERS)
    prediction: str = Field(default="", max_length=MOST_CHARACTERS)
    place: int | None = Field(default=None, ge=0)
    """Which word of the text, counted from 0; None is the last."""


class Look:
    """One model, of which the engine of the page has another instance with the same weights."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._alone = threading.Lock()

    def at(self, kind: Kind, asked: Looked) -> dict[str, Any]:
        """Raises NothingToLookAtError, NoAttentionError."""
        looks = {
            "next": self._next,
            "attention": self._attention,
            "without": self._without,
            "similar": self._similar,
            "near": self._near,
        }
        with self._alone:
            return looks[kind](asked)

    def _next(self, asked: Looked) -> dict[str, Any]:
        found = expectations(self.model, self.tokenizer, spell(self.model, self.tokenizer, asked.text), TOP)
        return {
            "places": [
                {
                    "token": each.token,
                    "probability": each.probability,
                    "bits": each.bits,
                    "candidates": each.candidates,
                }
                for each in found
            ]
        }

    def _attention(self, asked: Looked) -> dict[str, Any]:
        """Shares by layer, head and word, LHW, up to the word that is looked from."""
        spelled = spell(self.model, self.tokenizer, asked.text)
        last = len(spelled.words) - 1
        place = last if asked.place is None else min(asked.place, last)
        shares_LHW = from_word(attention(self.model, spelled), spelled, spelled.words[place])
        return {
            "words": [word.text for word in spelled.words],
            "place": place,
            "shares": shares_LHW[:, :, : place + 1].round(4).tolist(),
        }

    def _without(self, asked: Looked) -> dict[str, Any]:
        spelled = spell(self.model, self.tokenizer, asked.text)
        found = occlusion(self.model, self.tokenizer, spelled, foretold(self.tokenizer, asked.prediction))
        return {
            "words": [word.text for word in spelled.words],
            "lost": found.lost,
            "bits": found.bits,
            "prediction": self.tokenizer.decode(list(found.prediction)),
        }

    def _similar(self, asked: Looked) -> dict[str, Any]:
        one, two = (spell(self.model, self.tokenizer, each) for each in (asked.text, asked.other))
        found = similarity(self.model, (one, one.word(asked.word)), (two, two.word(asked.word)))
        return {"same": found.same_word, "others": found.other_words}

    def _near(self, asked: Looked) -> dict[str, Any]:
        return {"nearest": self._vectors.nearest(asked.word, TOP).nearest}

    @cached_property
    def _vectors(self) -> WordVectors:
        return WordVectors(self.model, self.tokenizer)
