"""What is told of a model's inside, against the model itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.insight.attention import (
    NoAttentionError,
    attention,
    from_word,
    require_layer,
    weights_kept,
)
from pipeline.evaluation.insight.candidates import expectations
from pipeline.evaluation.insight.neighbours import WordVectors
from pipeline.evaluation.insight.occlusion import bits_after, foretold, likeliest, occlusion, without
from pipeline.evaluation.insight.similarity import similarity
from pipeline.evaluation.insight.spelled import NothingToLookAtError, spell
from pipeline.models.generation import encode, piece_bytes
from pipeline.models.words import is_word_character
from tests.evaluation.stand_ins import SmallModel

TEXT = "The old mill grinds the wheat, and o moinho mói o trigo."
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def loaded(small_model: SmallModel) -> Loaded:
    return small_model.load()


@given(text=st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=14))
@settings(deadline=None)
def test_every_word_of_a_text_is_found_with_the_tokens_that_hold_it(loaded: Loaded, text: str) -> None:
    try:
        spelled = spell(*loaded, text)
    except NothingToLookAtError:
        decoded = b"".join(piece_bytes(loaded[1])[each] for each in encode(loaded[1], text)).decode()
        assert not any(map(is_word_character, decoded))
        return
    assert "".join(word.text for word in spelled.words) == "".join(filter(is_word_character, spelled.text))
    for word in spelled.words:
        assert spelled.text[word.start : word.end] == word.text
        held = b"".join(spelled.pieces[token] for token in word.tokens)
        assert word.text.encode() in held
        assert word.text.encode() not in b"".join(spelled.pieces[token] for token in word.tokens[1:])


def test_a_word_is_found_by_its_letters_and_one_that_is_not_there_is_told(loaded: Loaded) -> None:
    spelled = spell(*loaded, TEXT)
    assert spelled.word("the").start == TEXT.index("the")
    assert spelled.word("MILL").text == "mill"
    with pytest.raises(NothingToLookAtError, match=r"no word 'mills' in .*; its words: The, old, mill"):
        spelled.word("mills")
    with pytest.raises(NothingToLookAtError, match="has no word"):
        spell(*loaded, "...")
    with pytest.raises(NothingToLookAtError, match=r"tokens, and the model sees \d+; shorten it"):
        spell(*loaded, "wheat " * 5000)


def test_what_was_expected_is_what_the_model_says_before_it_sees_the_token(loaded: Loaded) -> None:
    model, tokenizer = loaded
    spelled = spell(model, tokenizer, TEXT)
    found = expectations(model, tokenizer, spelled, top=3)
    assert len(found) == len(spelled.ids)
    for place in (0, 3, len(found) - 1):
        with torch.inference_mode():
            ids = torch.tensor([spelled.ids[: place + 1]])
            shares_V = model(input_ids=ids).logits[0, -1].float().softmax(-1)
        assert [share for _, share in found[place].candidates] == pytest.approx(
            shares_V.topk(3).values.tolist(), abs=1e-5
        )
        if place + 1 < len(spelled.ids):
            probability = float(shares_V[spelled.ids[place + 1]])
            assert found[place].probability == pytest.approx(probability, abs=1e-5)
            assert found[place].bits == pytest.approx(-math.log2(probability), abs=1e-3)
    assert found[-1].probability is None


def test_attention_is_shared_out_among_what_came_before_and_costs_the_model_nothing(loaded: Loaded) -> None:
    model, tokenizer = loaded
    spelled = spell(model, tokenizer, TEXT)
    before, ids = model.config._attn_implementation, torch.tensor([spelled.ids])
    weights_LHTT = attention(model, spelled)
    assert model.config._attn_implementation == before
    assert weights_LHTT.sum(-1) == pytest.approx(1, abs=1e-4)
    assert not np.triu(weights_LHTT, 1).any()
    with torch.inference_mode(), weights_kept(model):
        step_by_step = model(input_ids=ids).logits
    with torch.inference_mode():
        assert torch.allclose(step_by_step, model(input_ids=ids).logits, atol=1e-4)
    word = spelled.word("wheat")
    shares_LHW = from_word(weights_LHTT, spelled, word)
    assert shares_LHW.shape == (*weights_LHTT.shape[:2], len(spelled.words))
    assert (shares_LHW.sum(-1) <= 1 + 1e-4).all()
    later = [at for at, other in enumerate(spelled.words) if other.start > word.start]
    assert not shares_LHW[:, :, later].any()
    require_layer(weights_LHTT, 1)
    with pytest.raises(NoAttentionError, match=r"no layer 99; the model has \d+"):
        require_layer(weights_LHTT, 99)


def test_a_word_is_like_itself_in_the_same_sentence_and_less_so_in_another(loaded: Loaded) -> None:
    model, tokenizer = loaded
    one, other = (spell(model, tokenizer, text) for text in (TEXT, "They grind coffee in a small mill"))
    same = similarity(model, (one, one.word("mill")), (one, one.word("mill")))
    assert same.same_word == pytest.approx([1.0] * len(same.same_word), abs=1e-5)
    apart = similarity(model, (one, one.word("mill")), (other, other.word("mill")))
    assert apart.same_word[0] == pytest.approx(1, abs=1e-5), "the embedding knows no context"
    assert apart.same_word[-1] < 1 - 1e-4
    assert apart.beyond_others[0] == apart.same_word[0] - apart.other_words[0]


def test_what_a_prediction_loses_without_a_word_is_its_own_difference(loaded: Loaded) -> None:
    model, tokenizer = loaded
    spelled = spell(model, tokenizer, "The old mill grinds wheat")
    found = occlusion(model, tokenizer, spelled)
    assert found.prediction == (likeliest(model, spelled.ids),)
    texts = ["The old mill grinds wheat", "The mill grinds wheat", "The old mill grinds"]
    whole, old, wheat = bits_after(model, tokenizer, texts, found.prediction)
    assert found.bits == pytest.approx(whole, abs=1e-4)
    assert (found.lost[1], found.lost[4]) == pytest.approx((old - whole, wheat - whole), abs=1e-4)
    assert found.ranked()[0] == max(range(5), key=lambda at: found.lost[at])
    asked = occlusion(model, tokenizer, spelled, foretold(tokenizer, "flour"))
    assert tokenizer.decode(list(asked.prediction)).strip() == "flour"
    assert foretold(tokenizer, " ") is None


def test_a_text_without_words_keeps_its_signs_and_one_space(loaded: Loaded) -> None:
    spelled = spell(*loaded, "The old mill, by the river")
    assert without(spelled, set()) == spelled.text
    assert without(spelled, {1}) == "The mill, by the river"
    assert without(spelled, {2, 3}) == "The old , the river"
    assert without(spelled, {5}) == "The old mill, by the"


def test_the_nearest_word_is_the_one_whose_vector_was_put_beside_it(small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    vectors = WordVectors(model, tokenizer)
    names = [name for name in vectors.words if name is not None]
    one, other = names[3], next(name for name in names[10:] if name.casefold() != names[3].casefold())
    weight_VD, near = model.get_input_embeddings().weight, vectors.words.index(other)
    with torch.no_grad():
        weight_VD[near] = weight_VD[vectors.words.index(one)] + 0.001
    found = WordVectors(model, tokenizer).nearest(one, top=3)
    assert found.nearest[0][0] == other
    assert found.nearest[0][1] > 0.99
    assert one not in dict(found.nearest)
    assert WordVectors(model, tokenizer).cosine(one, other) == pytest.approx(found.nearest[0][1], abs=1e-5)
