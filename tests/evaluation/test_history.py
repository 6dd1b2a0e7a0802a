"""The history of families: what is asked of them, what is said of it, and the page."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

from pipeline.evaluation.history.measure import contexts, exponent, gradients, hidden_nats
from pipeline.evaluation.history.page import sentences, useful_context
from pipeline.evaluation.history.words import TITLES, WORDS
from pipeline.models.architectures import new_model
from pipeline.models.families import FAMILIES, Shape, TokenIds, as_shape, mlp_width_of

HALF = 16
WINDOWS = np.random.default_rng(0).integers(8, 300, (6, 2 * HALF))


class Symbols:
    """A tokenizer, as far as hidden tokens need one."""

    mask_token = "<mask>"

    def convert_tokens_to_ids(self, symbol: str) -> int:
        return {"<mask>": 300, "<extra_id_0>": 301}[symbol]


def model_of(family: str) -> Any:
    torch.manual_seed(1)
    kind = FAMILIES[family]
    shape = Shape(1, 32, 2, 2, mlp_width_of(kind, 32), tied_embeddings=True, **as_shape(kind))
    model = new_model(family, shape, TokenIds(302, 1, 2, 3), 64)
    if family == "bert":  # as it is opened where nobody asks for next sentences
        model = BertForMaskedLM(model.config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.train(False)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5", "bart"])
def test_a_hidden_token_is_told_from_both_of_its_sides_and_not_from_itself(family):
    model, learning = model_of(family), FAMILIES[family].learning
    nats = hidden_nats(learning, model, Symbols(), WINDOWS, HALF)
    assert nats.shape == (6,)
    for place in (HALF - 3, HALF + 3):
        changed = WINDOWS.copy()
        changed[:, place] = (changed[:, place] + 5) % 300
        assert (hidden_nats(learning, model, Symbols(), changed, HALF) != nats).all()
    for target in (10, 20):  # of one place all probabilities together are 1, whatever stood there
        others = np.repeat(WINDOWS[:1], 302, axis=0)
        others[:, HALF] = np.arange(302)
        told = hidden_nats(learning, model, Symbols(), others, HALF)
        assert np.exp(-told).sum() == pytest.approx(1, abs=1e-4)
        assert told[target] > 0


@pytest.mark.parametrize("family", ["lstm", "gpt2"])
def test_gradients_are_those_of_the_loss_by_what_was_read(family):
    """Against a difference quotient of the loss along the gradient's own direction."""
    model = model_of(family)
    window = torch.from_numpy(WINDOWS[0])
    found = dict(gradients(copy.deepcopy(model), WINDOWS[:1], HALF)["trained"])
    embedded = model.get_input_embeddings()(window[None, :HALF]).detach()

    def loss(given: torch.Tensor) -> torch.Tensor:
        return -model(inputs_embeds=given).logits[0, -1].log_softmax(-1)[window[HALF]]

    norms = {}
    for distance in (1, 4):
        given = embedded.clone().requires_grad_()
        (direction,) = torch.autograd.grad(loss(given), given)
        direction = direction[0, -distance] / direction[0, -distance].norm()
        moved = [embedded.clone() for _ in range(2)]
        moved[0][0, -distance] += 1e-2 * direction
        moved[1][0, -distance] -= 1e-2 * direction
        with torch.no_grad():
            norms[distance] = float((loss(moved[0]) - loss(moved[1])) / 2e-2)
    assert found[1] == pytest.approx(1)
    assert found[4] == pytest.approx(norms[4] / norms[1], rel=0.05)


def test_contexts_double_up_to_all_there_is():
    assert contexts(16) == [1, 2, 4, 8, 16]
    assert contexts(20) == [1, 2, 4, 8, 16, 20]


def test_the_exponent_is_that_of_the_longest_rows():
    points = [(2.0**n, 5.0 if n < 4 else 3 * 4.0**n) for n in range(8)]
    assert exponent(points) == pytest.approx(2)


def member(name: str, bits: float, **more: Any) -> dict[str, Any]:
    family = FAMILIES.get(name)
    continues = family is None or family.continues_text
    return {"name": name, "continues_text": continues, "held_out_bits_per_byte": bits, **more}


@pytest.mark.parametrize(
    ("language", "less", "more"), [("en", "less than", "more than"), ("pt", "a menos", "a mais")]
)
def test_the_page_says_who_wins_by_what_was_measured(language, less, more):
    def told(lstm: float, gpt2: float) -> str:
        members = [member("ngram", 2.0), member("lstm", lstm), member("gpt2", gpt2)]
        return " ".join(sentences({"members": members}, language)["loss-against-compute.png"])

    assert less in told(1.8, 1.7)
    assert more not in told(1.8, 1.7)
    assert more in told(1.7, 1.8)
    assert ("Counting alone" in told(1.8, 2.5)) == (language == "en")
    assert "GPT-2" in told(1.8, 2.5)


def test_more_context_is_useful_as_long_as_it_brings_something():
    assert useful_context([(1, 5.0), (2, 4.0), (4, 3.5), (8, 3.499), (16, 3.495)]) == 4


def figures_in(text: str) -> set[str]:
    return {part.split("}")[0] for part in text.split("{")[1:]}


def test_both_languages_say_the_same_things_with_the_same_figures():
    for said in (TITLES, WORDS):
        assert said["en"].keys() == said["pt"].keys()
        for key, english in said["en"].items():
            figures = [
                set(part.split("}")[0] for part in text.split("{")[1:]) for text in (english, said["pt"][key])
            ]
            assert figures[0] == figures[1]
