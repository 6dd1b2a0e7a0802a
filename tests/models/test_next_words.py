"""The search for next words, against an enumeration of every spelling in a tiny vocabulary."""

import itertools
from collections import defaultdict

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from pipeline.models.generation import encode, piece_bytes
from pipeline.models.next_words import NextWords, next_words
from pipeline.models.words import leading_word
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import random_model, recurrent_model

PIECES = ["<s>", "</s>", "▁", "▁a", "a", "b", "▁ab", "ab.", ".", "\n", "é", "<0xC3>", "<0xA9>", "<0xBB>", "c"]
DEEPEST = 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return random_model(len(PIECES))


def enumerate_words(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, needs_space: bool
) -> dict[str, float]:
    """Every spelling of up to DEEPEST - 1 pieces, and what ends the word behind it."""
    spelt, start = piece_bytes(tokenizer), encode(tokenizer, text)
    found: defaultdict[str, float] = defaultdict(float)
    for length in range(1, DEEPEST + 1):
        endings = list(itertools.product(range(len(PIECES)), repeat=length))
        ids = torch.tensor([[*start, *ending] for ending in endings])
        with torch.inference_mode():
            logs = model(input_ids=ids).logits.double().log_softmax(-1)[:, len(start) - 1 : -1]
        joint = logs.gather(2, ids[:, len(start) :, None]).sum((1, 2)).exp()
        for ending, probability in zip(endings, joint.tolist(), strict=True):
            word = finished_word([spelt[token] for token in ending], needs_space)
            if word:
                found[word] += probability
    return found


def finished_word(pieces: list[bytes], needs_space: bool) -> str | None:
    """The word, if it is the last piece that finishes it."""
    if any(not piece for piece in pieces[:-1]) or is_finished(pieces[:-1]):
        return None
    if pieces[-1] == b"":
        open_word = text_of(pieces[:-1])
        word, rest = leading_word(open_word.lstrip()) if open_word is not None else ("", "")
    else:
        whole = text_of(pieces)
        if whole is None:
            return None
        word, rest = leading_word(whole.lstrip())
        if not rest:
            return None
    text = text_of(pieces) or text_of(pieces[:-1]) or ""
    return None if needs_space and not text[:1].isspace() else word


def is_finished(pieces: list[bytes]) -> bool:
    """Something behind the word, or something that is none, has come already."""
    text = b"".join(pieces).decode("utf-8", "ignore").lstrip()
    return bool(leading_word(text)[1])


def text_of(pieces: list[bytes]) -> str | None:
    try:
        return b"".join(pieces).decode()
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize(
    ("text", "needs_space"),
    [("a", True), pytest.param("a.", False, marks=pytest.mark.everything), ("a. ", True)],
)
@pytest.mark.parametrize("model", [random_model(len(PIECES)), recurrent_model(len(PIECES))])
def test_the_search_agrees_with_an_enumeration_of_every_spelling(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, needs_space: bool
) -> None:
    expected = enumerate_words(model, tokenizer, text.rstrip(" "), needs_space)
    found = dict(NextWords(model, tokenizer, least=0).after(text, top=100_000, most_pieces=DEEPEST))
    # At its last piece a word of the search may end, but no longer grow: the same for both.
    assert {word for word, probability in expected.items() if probability > 0} == set(found)
    for word, probability in found.items():
        assert probability == pytest.approx(expected[word], rel=1e-4)


def test_probabilities_fall_and_sum_to_at_most_one(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    found = [probability for _, probability in NextWords(model, tokenizer, least=1e-5).after("a b", 500)]
    assert found == sorted(found, reverse=True)
    assert 0 < sum(found) <= 1


def test_a_short_search_has_the_same_words_in_front_as_a_long_one(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    long = NextWords(model, tokenizer, least=1e-5).after("a", 1000)
    short = next_words(model, tokenizer, "a", 3)
    assert [word for word, _ in short] == [word for word, _ in long[:3]]


def test_words_of_a_real_vocabulary_are_words(small_vocabulary: Vocabulary) -> None:
    found = next_words(random_model(1024), small_vocabulary.tokenizer(), "The function", 20)
    assert len(found) == 20
    assert all(leading_word(word) == (word, "") for word, _ in found)
