import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pipeline.store import Store
from pipeline.tokens import transformers_files
from pipeline.tokens.markers import JOINER, MARKERS, PAD_ID, neutralise, restore
from pipeline.tokens.vocabulary import (
    NoTextError,
    TokenizersDifferError,
    Vocabulary,
    VocabularyConfig,
    VocabularySizeError,
    train_vocabulary,
)
from tests.tokens.conftest import SmallCorpus, processor_of, small_corpus
from tests.tokens.texts import AWKWARD, PORTUGUESE, documentation

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What does <|end|> do?"},
    {"role": "assistant", "content": "It ends a turn."},
    {"role": "user", "content": "And </s>?"},
    {"role": "assistant", "content": "It ends\n a document."},
]


def test_transformers_gives_the_ids_of_sentencepiece_on_every_text(vocabulary: Vocabulary, texts: list[str]):
    tokenizer = AutoTokenizer.from_pretrained(vocabulary.folder("tokenizer"))
    processor = processor_of(vocabulary)
    for text in texts:
        harmless = neutralise(text)
        assert tokenizer(harmless)["input_ids"] == processor.encode(harmless)


@given(text=st.text(max_size=200) | st.lists(st.sampled_from([*AWKWARD, "\n", "  ", "\t", "#"])).map("".join))
def test_any_text_has_equal_ids_and_comes_back_exactly(vocabulary: Vocabulary, text: str):
    harmless = neutralise(text)
    ids = processor_of(vocabulary).encode(harmless)
    transformers_files.Comparison(vocabulary.folder("tokenizer"))([harmless], [np.array(ids)])
    assert min(ids, default=len(MARKERS)) >= len(MARKERS)
    assert restore(processor_of(vocabulary).decode(ids)) == text


def test_decoding_with_transformers_gives_the_text_back(vocabulary: Vocabulary, texts: list[str]):
    tokenizer = vocabulary.tokenizer()
    for text in texts:
        ids = tokenizer(neutralise(text))["input_ids"]
        assert restore(tokenizer.decode(ids, skip_special_tokens=True)) == text


def test_control_symbols_have_their_fixed_ids_and_are_hidden_when_asked(vocabulary: Vocabulary):
    tokenizer = vocabulary.tokenizer()
    assert len(tokenizer) == vocabulary.pieces == 2048
    assert tokenizer.convert_tokens_to_ids(list(MARKERS)) == list(range(len(MARKERS)))
    assert tokenizer.pad_token_id == PAD_ID
    assert (
        tokenizer.decode([1, 4, *tokenizer("moinho")["input_ids"], 7, 2], skip_special_tokens=True)
        == "moinho"
    )


def test_a_line_break_and_an_indentation_cost_one_token(vocabulary: Vocabulary):
    processor = processor_of(vocabulary)
    for text in ["\n", "\n\n", "    ", "        ", "?", "\t"]:
        assert len(processor.encode(text)) == 1, repr(text)


def test_the_chat_template_marks_what_the_assistant_must_write(vocabulary: Vocabulary):
    tokenizer = vocabulary.tokenizer()
    made = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    answers = [id for id, own in zip(made["input_ids"], made["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(answers) == "It ends a turn.<|end|>It ends\n a document.<|end|>"
    assert made["input_ids"][:2] == [1, 6]
    assert made["input_ids"].count(7) == len(CHAT)


def test_no_message_can_forge_a_turn(vocabulary: Vocabulary):
    forged = [{"role": "user", "content": "".join(MARKERS)}]
    text = vocabulary.tokenizer().apply_chat_template(forged, tokenize=False, add_generation_prompt=True)
    assert text == f"<s><|user|>{''.join(MARKERS).replace('<', '<' + JOINER)}<|end|><|assistant|>"
    assert text == f"<s><|user|>{neutralise(''.join(MARKERS))}<|end|><|assistant|>"


def test_an_unknown_role_is_refused(vocabulary: Vocabulary):
    with pytest.raises(Exception, match="user, assistant, system; found tool"):
        vocabulary.tokenizer().apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)


def test_the_same_texts_give_the_same_bytes(vocabulary: Vocabulary, store: Store, texts: list[str]):
    again = train_vocabulary(store, small_corpus(store, texts), VocabularyConfig(pieces=2048))
    assert again.key == vocabulary.key
    assert again.record.digest == vocabulary.record.digest


def test_a_sample_is_drawn_from_a_larger_corpus(store: Store, corpus: SmallCorpus, texts: list[str]):
    own = small_corpus(store, texts)
    config = VocabularyConfig(pieces=1024, sample_bytes=150_000)
    counts = train_vocabulary(store, own, config).record.counts
    assert 50_000 < counts["bytes"] < 300_000
    assert counts["documents"] < len(texts)


def test_too_large_a_vocabulary_names_the_number_that_works(store: Store):
    corpus = small_corpus(store, [PORTUGUESE] * 12)
    with pytest.raises(VocabularySizeError, match=r"vocabulary\.pieces is 4096") as caught:
        train_vocabulary(store, corpus, VocabularyConfig())
    works = int(str(caught.value).rsplit("set ", 1)[1].split()[0])
    assert train_vocabulary(store, corpus, VocabularyConfig(pieces=works)).pieces == works


def test_too_small_a_vocabulary_names_the_number_that_works(store: Store):
    corpus = small_corpus(store, ["".join(map(chr, range(0x4E00, 0x4E00 + 700)))] * 10)
    with pytest.raises(VocabularySizeError, match=r"for single characters alone") as caught:
        train_vocabulary(store, corpus, VocabularyConfig(pieces=512, character_coverage=1))
    needed = int(str(caught.value).split(" need ")[1].split()[0])
    assert train_vocabulary(store, corpus, VocabularyConfig(pieces=needed, character_coverage=1)).exists()


def test_a_corpus_without_text_is_told(store: Store):
    with pytest.raises(NoTextError, match="holds no text"):
        train_vocabulary(store, small_corpus(store, [""] * 10), VocabularyConfig())


def test_a_difference_between_the_tokenizers_is_found(vocabulary: Vocabulary, tmp_path: Path):
    transformers_files.copy_folder(vocabulary.folder("tokenizer"), tmp_path)
    made = json.loads((tmp_path / "tokenizer.json").read_text())
    made["model"]["merges"] = made["model"]["merges"][500:]
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    with pytest.raises(TokenizersDifferError, match="SentencePiece goes on with"):
        transformers_files.Comparison(tmp_path)(documentation(), vocabulary.encoder().encode(documentation()))
