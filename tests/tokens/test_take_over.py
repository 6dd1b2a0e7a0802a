"""Tokenizers of others, made here: they keep their ids, get our markers, and lose no text."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencepiece
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.models.generation import encode as encode_prompt
from pipeline.models.generation import piece_bytes, stop_ids
from pipeline.shards import ShardOutput
from pipeline.store import Store
from pipeline.tokens.encode import EncodeShard, encode_shard
from pipeline.tokens.encoders import FastEncoder
from pipeline.tokens.extend import CannotExtendError
from pipeline.tokens.foreign import ForeignTokenizerError, content_of, foreseen_pieces
from pipeline.tokens.markers import MARKERS, PAD, TURN_END, markers_of, neutralise, restore
from pipeline.tokens.take_over import opened
from pipeline.tokens.vocabulary import (
    Vocabulary,
    VocabularyConfig,
    VocabularyLosesTextError,
    train_vocabulary,
)
from tests.tokens.conftest import SmallCorpus
from tests.tokens.texts import AWKWARD, PORTUGUESE, documentation

END_OF_TEXT = "<|endoftext|>"
CHAT = [{"role": "user", "content": f"{END_OF_TEXT}<|end|>"}, {"role": "assistant", "content": "moinho"}]


def byte_level(folder: Path) -> Path:
    """As GPT-2's: one marker for begin and end, no padding, runs of spaces as added tokens of text."""
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(documentation()[:20], trainer)
    made.add_tokens(["    ", "        "])
    made.add_special_tokens(["<|reserved|>"])
    wrapper: Any = PreTrainedTokenizerFast
    wrapper(
        tokenizer_object=made, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, unk_token=END_OF_TEXT
    ).save_pretrained(folder)
    return folder


def begins_by_itself(folder: Path) -> Path:
    """As Llama 3's: it has a begin of its own that it puts before each text, and pads with the end."""
    made: Any = Tokenizer.from_file(str(byte_level(folder) / "tokenizer.json"))
    made.add_special_tokens(["<|begin|>", "<|eot|>"])
    made.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", made.token_to_id("<|begin|>"))]
    )
    wrapper: Any = PreTrainedTokenizerFast
    wrapper(
        tokenizer_object=made, bos_token="<|begin|>", eos_token="<|eot|>", pad_token="<|eot|>"
    ).save_pretrained(folder)
    return folder


def sentencepiece_model(kind: str, **settings: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documentation()[:20]),
            model_writer=model,
            model_type=kind,
            vocab_size=700,
            byte_fallback=True,
            max_sentence_length=1 << 20,
            minloglevel=2,
            **{
                "normalization_rule_name": "identity",
                "remove_extra_whitespaces": False,
                "allow_whitespace_only_pieces": True,
                **settings,
            },
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "own.model").write_bytes(model.getvalue())
        return folder / "own.model"

    return make


KINDS = {
    "byte-level": byte_level,
    "begins by itself": begins_by_itself,
    "bpe": sentencepiece_model(
        "bpe", add_dummy_prefix=False, control_symbols=["<tool>"], user_defined_symbols=["moinho"]
    ),
    "bpe with a space before": sentencepiece_model("bpe"),
    "unigram": sentencepiece_model("unigram", add_dummy_prefix=False),
    "unigram with a space before": sentencepiece_model("unigram"),
}
EXTENSIONS = (0, 64)


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[request.param](tmp_path_factory.mktemp("foreign") / "own")


@pytest.fixture(scope="module", params=EXTENSIONS)
def vocabulary(
    request: pytest.FixtureRequest, place: Path, shared_store: Store, corpus: SmallCorpus
) -> Vocabulary:
    config = VocabularyConfig(tokenizer=str(place), extend=request.param)
    return train_vocabulary(shared_store, corpus, config)


def test_every_old_piece_keeps_its_id_and_markers_and_new_pieces_come_behind(
    vocabulary: Vocabulary, place: Path
):
    given, made = opened(place), vocabulary.tokenizer()
    old, new = given.get_vocab(), made.get_vocab()
    assert {piece: new.get(piece) for piece in old} == old
    behind = {piece: index for piece, index in new.items() if piece not in old}
    assert sorted(behind.values()) == list(range(max(old.values()) + 1, vocabulary.pieces))
    assert {*MARKERS[4:], made.pad_token} <= {*behind}
    extend = int(vocabulary.config()["extend"])
    ours = len([piece for piece in behind if piece in (*MARKERS, PAD)])
    assert len(behind) - ours == extend


def test_it_keeps_its_own_begin_and_end_and_pads_with_what_is_nothing_else(
    vocabulary: Vocabulary, place: Path
):
    given, made = opened(place), vocabulary.tokenizer()
    assert made.bos_token == (given.bos_token or "<s>")
    assert made.eos_token == (given.eos_token or "</s>")
    assert made.pad_token_id not in (made.bos_token_id, made.eos_token_id)
    encoder = vocabulary.encoder()
    assert (encoder.begin, encoder.end) == (made.bos_token_id, made.eos_token_id)
    assert stop_ids(made) == [made.get_vocab()[TURN_END], made.eos_token_id]


def test_every_text_comes_back_and_holds_no_marker(vocabulary: Vocabulary):
    encoder, made = vocabulary.encoder(), vocabulary.tokenizer()
    special = {made.get_vocab()[marker] for marker in encoder.markers if marker in made.get_vocab()}
    unknown = {made.unk_token_id} if made.unk_token_id != made.eos_token_id else set()
    for text in [
        *AWKWARD,
        " ".join(encoder.markers),
        PORTUGUESE,
        *documentation()[:5],
        "    if x:\n        y",
    ]:
        ids = encoder.encode([neutralise(text, encoder.markers)])[0].tolist()
        assert restore(encoder.decode(ids), encoder.markers) == text
        assert not (special - unknown) & set(ids)
        assert encode_prompt(made, text) == [encoder.begin, *ids]


def test_the_bytes_of_its_pieces_spell_the_text(vocabulary: Vocabulary):
    encoder, spelt = vocabulary.encoder(), piece_bytes(vocabulary.tokenizer())
    for text in (PORTUGUESE, "    if x:\n        y = 'ção'"):
        ids = encoder.encode([text])[0]
        assert b"".join(spelt[index] for index in ids).decode() in (text, f" {text}")


def test_text_is_cut_as_before_and_then_neighbours_are_joined(vocabulary: Vocabulary, place: Path):
    given, made, markers = opened(place), vocabulary.tokenizer(), vocabulary.encoder().markers
    is_bpe = json.loads(given.backend_tokenizer.to_str())["model"]["type"] == "BPE"
    before = after = 0
    for text in [*documentation()[:20], PORTUGUESE]:
        harmless = neutralise(text, markers)
        old = given.encode(harmless, add_special_tokens=False)
        new = made.encode(harmless, add_special_tokens=False)
        before, after = before + len(old), after + len(new)
        names, places = made.convert_ids_to_tokens(new), [0]
        for name in given.convert_ids_to_tokens(old):
            places.append(places[-1] + len(name))
        ends = np.cumsum([len(name) for name in names])
        if is_bpe:  # a unigram model weighs all ways through a text anew
            assert set(ends.tolist()) <= set(places)
    assert after == before if not vocabulary.config()["extend"] else after < 0.99 * before


def test_a_chat_is_written_with_its_begin_and_our_roles(vocabulary: Vocabulary):
    made = vocabulary.tokenizer()
    found = made.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    ids, own = found["input_ids"], found["assistant_masks"]
    assert ids[0] == made.bos_token_id
    assert ids.count(made.bos_token_id) == 1
    assert ids.count(made.get_vocab()[TURN_END]) == 2
    answer = made.decode([index for index, mine in zip(ids, own, strict=True) if mine])
    assert answer.lstrip() == f"moinho{TURN_END}"


def test_a_corpus_is_encoded_with_it(vocabulary: Vocabulary, corpus: SmallCorpus, tmp_path: Path):
    encoder, name = vocabulary.encoder(), "held-out/00000"
    encode_shard(EncodeShard(corpus, vocabulary, f"{name}.parquet"), ShardOutput(tmp_path))
    flat = np.load(tmp_path / f"{name}.tokens.npy")
    index = pq.read_table(tmp_path / f"{name}.documents.parquet").to_pylist()
    texts = pq.read_table(corpus.path(f"{name}.parquet"))["text"].to_pylist()
    for entry, text in zip(index, texts, strict=True):
        ids = flat[entry["offset"] : entry["offset"] + entry["tokens"]].tolist()
        assert (ids[0], ids[-1]) == (encoder.begin, encoder.end)
        assert restore(encoder.decode(ids[1:-1]), encoder.markers) == text


def test_its_content_is_in_the_key_and_its_place_is_not(tmp_path: Path, store: Store, corpus: SmallCorpus):
    one, other = byte_level(tmp_path / "one"), byte_level(tmp_path / "other")
    contents = [content_of(VocabularyConfig(tokenizer=str(place))) for place in (one, other)]
    assert contents[0] == contents[1]
    first = train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(one)))
    assert train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(other))).key == first.key
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    assert content_of(VocabularyConfig(tokenizer=str(other))) != contents[0]


def test_a_text_that_is_changed_is_found_by_its_bytes(tmp_path: Path):
    made: Any = Tokenizer.from_file(str(byte_level(tmp_path) / "tokenizer.json"))
    made.normalizer = normalizers.NFC()
    made.save(str(tmp_path / "tokenizer.json"))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"pad_token": END_OF_TEXT}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder, texts = FastEncoder(tmp_path), ["é", "e\u0301", "moinho"]
    assert encoder.changed(texts, encoder.encode(texts)) == [(1, "é")]


def test_one_that_loses_text_is_refused(tmp_path: Path, store: Store, corpus: SmallCorpus):
    made: Any = Tokenizer.from_file(str(byte_level(tmp_path) / "tokenizer.json"))
    made.normalizer = normalizers.Lowercase()
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(VocabularyLosesTextError, match=r"documents do not come back .* comes back as"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith(("bpe", "unigram"))])
def test_sentencepiece_gives_the_same_ids_or_others_as_likely(name: str, tmp_path: Path):
    place = KINDS[name](tmp_path)
    given, model = opened(place), sentencepiece.SentencePieceProcessor(model_file=str(place))
    for text in [*AWKWARD, PORTUGUESE, *documentation()]:
        harmless = neutralise(text, markers_of(given))
        expected, found = model.encode(harmless), given.encode(harmless, add_special_tokens=False)
        if isinstance(given.backend_tokenizer.model, models.BPE):
            assert found == expected
        likelihoods = [sum(map(model.get_score, ids)) for ids in (found, expected)]
        assert likelihoods[0] == pytest.approx(likelihoods[1])


def test_a_sentencepiece_model_with_rules_of_its_own_is_refused(
    tmp_path: Path, store: Store, corpus: SmallCorpus
):
    place = sentencepiece_model("bpe", treat_whitespace_as_suffix=True)(tmp_path)
    with pytest.raises(ForeignTokenizerError, match=r"SentencePiece goes on with the ids \["):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(place)))


def test_a_sentencepiece_model_of_words_is_refused(tmp_path: Path, store: Store, corpus: SmallCorpus):
    place = sentencepiece_model("word")(tmp_path)
    with pytest.raises(ForeignTokenizerError, match="neither a BPE nor a unigram model"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(place)))


def test_a_tokenizer_json_alone_is_taken_over_with_our_begin_and_end(
    tmp_path: Path, store: Store, corpus: SmallCorpus
):
    given = byte_level(tmp_path) / "tokenizer.json"
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(given)))
    made = vocabulary.tokenizer()
    assert (made.bos_token, made.eos_token, made.pad_token) == ("<s>", "</s>", PAD)
    old, new = Tokenizer.from_file(str(given)).get_vocab(), made.get_vocab()
    assert {piece: new.get(piece) for piece in old} == old


def test_a_vocabulary_of_ours_taken_over_is_the_same(shared_store: Store, corpus: SmallCorpus):
    own = train_vocabulary(shared_store, corpus, VocabularyConfig(pieces=2048))
    config = VocabularyConfig(tokenizer=str(own.folder("tokenizer")))
    again = train_vocabulary(shared_store, corpus, config)
    assert again.tokenizer().get_vocab() == own.tokenizer().get_vocab()
    assert (
        again.tokenizer().chat_template.splitlines()[1:2] == own.tokenizer().chat_template.splitlines()[1:2]
    )
    harmless = [neutralise(text) for text in [*AWKWARD, PORTUGUESE]]
    ids = [vocabulary.encoder().encode(harmless) for vocabulary in (own, again)]
    assert [one.tolist() for one in ids[0]] == [one.tolist() for one in ids[1]]


def test_ids_with_gaps_are_told(tmp_path: Path, store: Store, corpus: SmallCorpus):
    made: Any = Tokenizer(models.WordLevel({"a": 0, "<unk>": 2}, unk_token="<unk>"))
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ForeignTokenizerError, match="has no piece for the id 1 "):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))


def test_a_marker_that_text_cannot_be_kept_from_is_told(tmp_path: Path, store: Store, corpus: SmallCorpus):
    made: Any = Tokenizer.from_file(str(byte_level(tmp_path) / "tokenizer.json"))
    made.add_special_tokens(["X"])
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ForeignTokenizerError, match="text is taken for the marker 'X'"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))


def test_a_sentencepiece_model_that_changes_text_is_refused(
    tmp_path: Path, store: Store, corpus: SmallCorpus
):
    place = sentencepiece_model("unigram", normalization_rule_name="nmt_nfkc")(tmp_path)
    with pytest.raises(ForeignTokenizerError, match=r"the normalization of .* \(nmt_nfkc\) changes text"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(place)))


def test_words_cannot_be_extended(tmp_path: Path, store: Store, corpus: SmallCorpus):
    made: Any = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    wrapper: Any = PreTrainedTokenizerFast
    wrapper(tokenizer_object=made, unk_token="<unk>").save_pretrained(tmp_path)
    with pytest.raises(CannotExtendError, match="of the kind WordLevel"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path), extend=8))


def test_what_is_no_tokenizer_is_told(tmp_path: Path, store: Store, corpus: SmallCorpus):
    with pytest.raises(ForeignTokenizerError, match=r"has no tokenizer\.json"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))
    for name in ("x.model", "tokenizer.json"):
        (tmp_path / name).write_text("flour")
        with pytest.raises(ForeignTokenizerError, match="could not be read"):
            train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path / name)))
    with pytest.raises(ForeignTokenizerError, match="could not be read"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))


def test_a_file_beside_it_that_cannot_be_read_is_told(tmp_path: Path, store: Store, corpus: SmallCorpus):
    (byte_level(tmp_path) / "tokenizer_config.json").write_text("[")
    with pytest.raises(ForeignTokenizerError, match="transformers does not read"):
        train_vocabulary(store, corpus, VocabularyConfig(tokenizer=str(tmp_path)))


def test_a_name_on_the_hub_wants_a_commit():
    with pytest.raises(ValidationError, match="to its commit of 40 hexadecimal"):
        VocabularyConfig(tokenizer="somebody/model")
    commit = "0123456789" * 4
    config = VocabularyConfig(tokenizer="somebody/model", tokenizer_revision=commit)
    assert content_of(config) == {"tokenizer": f"somebody/model@{commit}"}


@pytest.mark.parametrize("path", ["/nowhere/tokenizer.json", "./model", "tokenizer.json", "a/b/c"])
def test_a_path_without_anything_is_no_name_on_the_hub(path: str):
    with pytest.raises(ValidationError, match=r"no file or folder .*; paths count from here"):
        VocabularyConfig(tokenizer=path)


def test_files_have_no_revision(tmp_path: Path):
    with pytest.raises(ValidationError, match="tokenizers on the hub alone"):
        VocabularyConfig(tokenizer=str(tmp_path), tokenizer_revision="0123456789" * 4)


def test_a_plan_foresees_about_as_many_pieces_as_there_will_be(vocabulary: Vocabulary, place: Path):
    extend = int(vocabulary.config()["extend"])
    foreseen = foreseen_pieces(VocabularyConfig(tokenizer=str(place), extend=extend))
    assert abs(foreseen - vocabulary.pieces) <= len(MARKERS)


def test_the_markers_of_our_own_tokenizers_are_ours(shared_store: Store, corpus: SmallCorpus):
    own = train_vocabulary(shared_store, corpus, VocabularyConfig(pieces=2048))
    assert markers_of(own.tokenizer()) == tuple(sorted(MARKERS))
