"""What a prediction hangs on: how much less likely it is without each word.

Zeiler and Fergus (2014, arXiv:1311.2901) cover parts of a picture; Li, Monroe and Jurafsky (2016,
arXiv:1612.08220) leave out words.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.insight.spelled import Spelled
from pipeline.evaluation.likelihood import token_nats
from pipeline.models.generation import encode


@dataclass(frozen=True)
class Occlusion:
    """A prediction, and what becomes of it without each word."""

    prediction: tuple[int, ...]
    """Ids of what is foretold after the text."""
    bits: float
    """Of the prediction after the whole text: minus the base-2 logarithm of its probability."""
    lost: tuple[float, ...]
    """By word of the text: so many bits more it takes without the word. Below 0: the word speaks against
    it."""

    def ranked(self) -> list[int]:
        """Indices of the words, that on which the prediction hangs most first."""
        return sorted(range(len(self.lost)), key=lambda at: -self.lost[at])


def occlusion(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    spelled: Spelled,
    prediction: Sequence[int] | None = None,
) -> Occlusion:
    """`prediction` is what is asked about; without one, the likeliest next token."""
    asked = tuple(prediction) if prediction else (likeliest(model, spelled.ids),)
    texts = [spelled.text, *(without(spelled, {at}) for at in range(len(spelled.words)))]
    whole, *others = bits_after(model, tokenizer, texts, asked)
    return Occlusion(asked, whole, tuple(each - whole for each in others))


def foretold(tokenizer: PreTrainedTokenizerBase, text: str | None) -> list[int] | None:
    """Ids of a prediction that somebody wrote, with a space before it; None if it is empty."""
    if text is None or not text.strip():
        return None
    ids = encode(tokenizer, f" {text.strip()}")
    return ids if tokenizer.bos_token_id is None else ids[1:]


@torch.inference_mode()
def likeliest(model: PreTrainedModel, ids: Sequence[int]) -> int:
    """The likeliest next token."""
    return int(model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -1].argmax())


def without(spelled: Spelled, left_out: Collection[int]) -> str:
    """The text without the words of these indices; of the spaces beside one, one goes too."""
    kept, at = [], 0
    for index, word in enumerate(spelled.words):
        if index in left_out:
            before = spelled.text[at : word.start]
            follows = spelled.text[word.end : word.end + 1]
            kept.append(before.removesuffix(" ") if follows in ("", " ") else before)
            at = word.end
    return "".join([*kept, spelled.text[at:]])


def bits_after(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], asked: Sequence[int]
) -> list[float]:
    """Of the same tokens after each text: minus the base-2 logarithm of their probability."""
    pieces = [[*encode(tokenizer, text), *asked] for text in texts]
    return [sum(nats[-len(asked) :]) / math.log(2) for nats in token_nats(model, pieces)]
