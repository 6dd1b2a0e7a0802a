"""What is told of a model that has learned something is no decoration."""

import random
import re
from pathlib import Path
from statistics import mean

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from flows.references import find_artifact
from pipeline.corpus.hold_out import Corpus
from pipeline.evaluation.insight.neighbours import WordVectors
from pipeline.evaluation.insight.occlusion import bits_after, occlusion, without
from pipeline.evaluation.insight.spelled import spell
from pipeline.models.model import Model
from pipeline.store import Store

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
SENTENCES = 200
ALIKE = (
    *(("returns", "return"), ("is", "are"), ("class", "object"), ("argument", "arguments")),
    *(("list", "tuple"), ("string", "bytes"), ("can", "may"), ("method", "function")),
    *(("file", "files"), ("value", "values"), ("used", "called"), ("the", "a")),
)
"""Words of a manual of programming that are used alike."""


@pytest.fixture(scope="module")
def store(filled_road: Path) -> Store:
    return Store(str(filled_road / "undisturbed"))


@pytest.fixture(scope="module")
def loaded(store: Store) -> Loaded:
    base = find_artifact(store, "road/base")
    assert isinstance(base, Model)
    return base.load()


@pytest.fixture(scope="module")
def sentences(store: Store) -> list[str]:
    """Beginnings of held-out sentences, without their last word."""
    corpus = find_artifact(store, "road/corpus")
    assert isinstance(corpus, Corpus)
    found = [
        sentence.rpartition(" ")[0]
        for text in corpus.texts("held-out")
        for sentence in re.split(r"(?<=\.)\s+", text)
        if 6 <= len(sentence.split()) <= 25 and sentence[0].isupper()
    ]
    return random.Random(0).sample(found, SENTENCES)


def test_without_the_words_that_count_most_a_prediction_loses_more_than_without_any_others(
    loaded: Loaded, sentences: list[str]
) -> None:
    """A quarter of the words together, while each was ranked by itself."""
    model, tokenizer = loaded
    chance, lost, lost_by_chance = random.Random(1), [], []
    for sentence in sentences:
        spelled = spell(model, tokenizer, sentence)
        found, count = occlusion(model, tokenizer, spelled), max(1, len(spelled.words) // 4)
        any_others = set(chance.sample(range(len(spelled.words)), count))
        texts = [spelled.text, without(spelled, found.ranked()[:count]), without(spelled, any_others)]
        whole, top, other = bits_after(model, tokenizer, texts, found.prediction)
        lost.append(top - whole)
        lost_by_chance.append(other - whole)
    wins = sum(a > b for a, b in zip(lost, lost_by_chance, strict=True))
    print(f"bits lost: {mean(lost):.2f}, by chance {mean(lost_by_chance):.2f}; more in {wins} of {SENTENCES}")
    assert mean(lost) > 2 * mean(lost_by_chance)
    assert wins > 0.6 * SENTENCES


def test_words_that_are_used_alike_lie_nearer_than_chance(loaded: Loaded) -> None:
    """The share of the vocabulary's words that are nearer than the partner: one half by chance."""
    vectors = WordVectors(*loaded)
    ranks = []
    for one, other in ALIKE:
        names = list(dict(vectors.nearest(one, top=len(vectors.words)).nearest))
        nearer = sum(vectors.cosine(one, name) > vectors.cosine(one, other) for name in names)
        ranks.append(nearer / len(names))
    print("nearer than the partner:", [f"{rank:.2f}" for rank in ranks])
    assert mean(ranks) < 0.35
