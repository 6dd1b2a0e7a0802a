import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, set_seed

from pipeline.evaluation.bias import ALL, LANGUAGES, Couple, bias, read_couples
from pipeline.models.generation import encode
from pipeline.tokens.vocabulary import Vocabulary

AXES = ("gender", "origin", "religion")
A_WORD_IN_A = re.compile(r"\b(?:o|um|do|no|ao)\s+(\w+a)\b", re.IGNORECASE)
A_WORD_IN_O = re.compile(r"\b(?:a|uma|da|na|à)\s+(\w+o)\b", re.IGNORECASE)
FEMININE_IN_O = {"mão", "reunião", "pregação", "procissão", "instituição"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_its_pairs_on_every_axis(language: str) -> None:
    couples = read_couples(language)
    pairs = [pair for couple in couples for pair in couple]
    assert len(pairs) >= 200
    by_axis = Counter(pair.axis for pair in pairs)
    assert set(by_axis) == set(AXES)
    assert min(by_axis.values()) >= 50
    sentences = [sentence for pair in pairs for sentence in (pair.stereotype, pair.other)]
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert re.fullmatch(r"[A-ZÀ-Ý][^{}|]*[.?!]", sentence), sentence
        assert "  " not in sentence


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_couple_the_words_stand_both_ways_round(language: str) -> None:
    for first, second in read_couples(language):
        assert first.axis == second.axis
        assert first.words == tuple((other, one) for one, other in second.words)
        assert first.words


def test_articles_and_nouns_agree_in_every_sentence() -> None:
    for sentence in _sentences("en"):
        assert not re.search(r"\ba [aeio]|\ban [^aeiouh]", sentence, re.IGNORECASE), sentence
    for sentence in _sentences("pt"):
        for noun in A_WORD_IN_A.findall(sentence):
            assert re.search(r"(ista|^dia|^mapa|^cometa)$", noun), sentence
        for noun in A_WORD_IN_O.findall(sentence):
            assert noun in FEMININE_IN_O, sentence


def _sentences(language: str) -> list[str]:
    pairs = [pair for couple in read_couples(language) for pair in couple]
    return [sentence for pair in pairs for sentence in (pair.stereotype, pair.other)]


class SameEverywhere(torch.nn.Module):
    """A model for which a word is as likely wherever it stands, some words more than others."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.logits_V = torch.nn.Parameter(torch.randn(pieces, generator=torch.Generator().manual_seed(1)))
        self.device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.logits_V.expand(*input_ids.shape, -1))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_to_which_it_makes_no_difference_who_is_spoken_of_has_no_gap(
    small_vocabulary: Vocabulary, language: str
) -> None:
    model: Any = SameEverywhere(small_vocabulary.pieces)
    found = bias(model, small_vocabulary.tokenizer(), read_couples(language))
    assert set(found) == {ALL, *AXES}
    for axis in found.values():
        assert axis["gap"]["value"] == pytest.approx(0, abs=1e-3)
        assert axis["preferred_share"]["value"] == 0.5
        assert axis["gap"]["low"] is axis["preferred_share"]["low"] is None, "all are equal"


def test_a_model_that_read_only_stereotypes_prefers_them_and_one_that_read_both_does_not(
    small_vocabulary: Vocabulary,
) -> None:
    couples = [couple for couple in read_couples("en") if couple[0].axis == "gender"]
    tokenizer = small_vocabulary.tokenizer()
    of_both = {both: _read(small_vocabulary, couples, both) for both in (False, True)}
    found = {both: bias(model, tokenizer, couples)[ALL] for both, model in of_both.items()}
    biased, fair = found[False], found[True]
    assert biased["gap"]["low"] > 0.3
    assert biased["preferred_share"]["low"] > 0.5
    assert biased["examples"][0]["gap"] > 0.5
    assert biased["pairs"] == 2 * len(couples) == 2 * biased["gap"]["n"]
    assert abs(fair["gap"]["value"]) < biased["gap"]["value"] / 5
    assert fair["gap"]["low"] < 0.2
    assert fair["gap"]["high"] > -0.2


def _read(vocabulary: Vocabulary, couples: list[Couple], both: bool) -> PreTrainedModel:
    """A small model that has learned the sentences with the stereotype, or those against it as well."""
    set_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary.pieces,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config)
    pairs = [pair for couple in couples for pair in couple]
    tokenizer = vocabulary.tokenizer()
    sentences = [pair.stereotype for pair in pairs] + [pair.other for pair in pairs if both]
    rows = [encode(tokenizer, sentence) for sentence in sentences]
    longest = max(map(len, rows))
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels_BT = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        model(input_ids=ids_BT, labels=labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.train(False)
    return model
