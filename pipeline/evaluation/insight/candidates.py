"""What a model expects at each place of a text.

T tokens, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.insight.spelled import Spelled, shown
from pipeline.models.generation import piece_bytes


@dataclass(frozen=True)
class Expected:
    """What was expected at a place, and what came."""

    token: str
    """What came, as it is shown; empty at the end of the text, where nothing has come yet."""
    probability: float | None
    """Of what came; None at the end."""
    candidates: tuple[tuple[str, float], ...]
    """The likeliest tokens with their probabilities, descending."""

    @property
    def bits(self) -> float | None:
        """How surprising it was: minus the base-2 logarithm of the probability (Shannon, 1948)."""
        return None if self.probability is None else -math.log2(max(self.probability, 1e-300))


@torch.inference_mode()
def expectations(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, spelled: Spelled, top: int = 10
) -> list[Expected]:
    """For every token of the text but the first, and for the one that is to come after the last, what the
    model thought before it saw it."""
    logits_TV = model(input_ids=torch.tensor([spelled.ids], device=model.device)).logits[0]
    probabilities_TV = logits_TV.float().softmax(-1).cpu()
    best = probabilities_TV.topk(min(top, probabilities_TV.shape[-1]))
    spelt = piece_bytes(tokenizer)
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    labels = [shown(piece) if piece else str(name) for piece, name in zip(spelt, names, strict=True)]
    found = []
    for place in range(len(spelled.ids)):
        ids, values = best.indices[place].tolist(), best.values[place].tolist()
        candidates = tuple(
            (labels[token] if token < len(labels) else f"<{token}>", value)
            for token, value in zip(ids, values, strict=True)
        )
        came = spelled.ids[place + 1] if place + 1 < len(spelled.ids) else None
        found.append(
            Expected(
                "" if came is None else labels[came],
                None if came is None else float(probabilities_TV[place, came]),
                candidates,
            )
        )
    return found
