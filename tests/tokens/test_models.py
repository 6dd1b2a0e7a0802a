"""Every kind of model: what it promises, on real texts and on awkward ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pipeline.shards import ShardOutput
from pipeline.store import Store
from pipeline.tokens.encode import EncodeShard, encode_shard
from pipeline.tokens.markers import MARKERS, PAD_ID, neutralise, restore
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from tests.tokens.conftest import SmallCorpus, small_corpus
from tests.tokens.texts import AWKWARD

KINDS = ("unigram", "char", "word")
tricky = st.text(max_size=100) | st.lists(
    st.sampled_from([*AWKWARD, "\n", "  ", "\t", "#", "<0x0A>", "the "]), max_size=9
).map("".join)


@pytest.fixture(scope="module")
def vocabularies(shared_store: Store, corpus: SmallCorpus) -> dict[str, Vocabulary]:
    return {
        kind: train_vocabulary(shared_store, corpus, VocabularyConfig(model=kind, pieces=2048))  # type: ignore[arg-type]
        for kind in KINDS
    }


@pytest.fixture(scope="module", params=KINDS)
def vocabulary(request: pytest.FixtureRequest, vocabularies: dict[str, Vocabulary]) -> Vocabulary:
    return vocabularies[request.param]


@given(text=tricky)
def test_any_text_comes_back_exactly_and_holds_no_marker(vocabularies: dict[str, Vocabulary], text: str):
    for kind, vocabulary in vocabularies.items():
        encoder = vocabulary.encoder()
        ids = encoder.encode([neutralise(text)])[0].tolist()
        assert restore(encoder.decode(ids)) == text, kind
        assert min(ids, default=len(MARKERS)) >= len(MARKERS), kind


@given(text=tricky)
def test_transformers_gives_the_ids_that_the_corpus_is_encoded_with(
    vocabularies: dict[str, Vocabulary], text: str
):
    for kind, vocabulary in vocabularies.items():
        harmless = neutralise(text)
        ids = vocabulary.encoder().encode([harmless])[0].tolist()
        assert vocabulary.tokenizer()(harmless)["input_ids"] == ids, kind


def test_whole_documents_have_equal_ids_and_come_back(vocabulary: Vocabulary, texts: list[str]):
    tokenizer, encoder = AutoTokenizer.from_pretrained(vocabulary.folder("tokenizer")), vocabulary.encoder()
    harmless = [neutralise(text) for text in texts]
    for text, ids in zip(harmless, encoder.encode(harmless), strict=True):
        assert tokenizer(text)["input_ids"] == ids.tolist()
        assert tokenizer.decode(ids.tolist(), skip_special_tokens=True) == text


def test_markers_have_their_fixed_ids(vocabulary: Vocabulary):
    tokenizer = vocabulary.tokenizer()
    assert tokenizer.convert_tokens_to_ids(list(MARKERS)) == list(range(len(MARKERS)))
    assert (tokenizer.pad_token_id, len(tokenizer)) == (PAD_ID, vocabulary.pieces)
    chat = [{"role": "user", "content": "</s>"}, {"role": "assistant", "content": "moinho"}]
    made = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    answer = [index for index, own in zip(made["input_ids"], made["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(answer) == "moinho<|end|>"


def test_a_corpus_is_encoded_with_it(vocabulary: Vocabulary, corpus: SmallCorpus, tmp_path):
    shard = EncodeShard(corpus, vocabulary, "held-out/00000.parquet")
    assert encode_shard(shard, ShardOutput(tmp_path))["held-out.documents"] == 4


def test_the_kinds_cut_text_as_their_names_say(vocabularies: dict[str, Vocabulary]):
    text = " of the class is a"
    lengths = {kind: len(each.encoder().encode([text])[0]) for kind, each in vocabularies.items()}
    assert lengths == {"unigram": 5, "char": len(text), "word": 5}
    assert vocabularies["char"].pieces < 2048


def test_a_char_model_has_a_piece_for_each_character_that_is_not_rare(store: Store):
    corpus = small_corpus(store, ["ação, coração e pão"] * 12)
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(model="char", character_coverage=1))
    assert len(vocabulary.encoder().encode(["ação"])[0]) == 4
    assert len(vocabulary.encoder().encode(["ünd"])[0]) == 4
