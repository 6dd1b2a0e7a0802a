from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.compute import Compute
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, PlanningStore, Store
from pipeline.tokens.encode import EmptySplitError, EncodeShard, Tokens, TokensConfig, encode_shard, tokenize
from pipeline.tokens.markers import BEGIN_ID, END_ID, neutralise, restore
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from tests.tokens.conftest import SmallCorpus, SmallCorpusConfig, processor_of, small_corpus

ROW_TOKENS = 128


@pytest.fixture(scope="session")
def tokens(shared_store: Store, corpus: SmallCorpus, vocabulary: Vocabulary, compute: Compute) -> Tokens:
    return tokenize(shared_store, corpus, vocabulary, TokensConfig(row_tokens=ROW_TOKENS), compute)


def test_every_document_comes_back_from_the_token_files(
    tokens: Tokens, corpus: SmallCorpus, vocabulary: Vocabulary
):
    processor = processor_of(vocabulary)
    for split in ("train", "held-out"):
        for name in corpus.names(f"{split}/"):
            stem = name.removesuffix(".parquet")
            flat = np.load(tokens.path(f"{stem}.tokens.npy"), mmap_mode="r")
            index = pq.read_table(tokens.path(f"{stem}.documents.parquet")).to_pylist()
            source = pq.read_table(corpus.path(name)).to_pylist()
            assert flat.dtype == np.uint16
            assert len(flat) == sum(entry["tokens"] for entry in index)
            for entry, document in zip(index, source, strict=True):
                ids = flat[entry["offset"] : entry["offset"] + entry["tokens"]].tolist()
                assert (ids[0], ids[-1]) == (BEGIN_ID, END_ID)
                assert restore(processor.decode(ids[1:-1])) == document["text"]
                assert (entry["id"], entry["url"]) == (document["id"], document["url"])
                assert entry["bytes"] == len(document["text"].encode())


def test_counts_are_those_of_the_corpus(tokens: Tokens, corpus: SmallCorpus):
    counts = tokens.record.counts
    for split in ("train", "held-out"):
        texts = list(corpus.texts(split))
        assert counts[f"{split}.documents"] == len(texts)
        assert counts[f"{split}.bytes"] == sum(len(text.encode()) for text in texts)
        assert counts[f"{split}.rows"] == len(tokens.rows(split))
    assert tokens.record.figures["row_filling"] > 0.99
    assert 2 < tokens.record.figures["bytes_per_token"] < 5


def test_the_rows_hold_every_token_once(tokens: Tokens):
    rows = tokens.rows("train")
    batch = rows.batch(np.arange(len(rows)))
    inside = batch.documents_BT >= 0
    assert inside.sum() == tokens.record.counts["train.tokens"]
    files = [tokens.path(name) for name in tokens.names("train/") if name.endswith("tokens.npy")]
    expected = np.concatenate([np.load(path) for path in files if path.name != "rows.npy"])
    np.testing.assert_array_equal(
        np.bincount(batch.tokens_BT[inside], minlength=2048), np.bincount(expected, minlength=2048)
    )


def test_a_row_is_traced_back_to_its_documents_text(
    tokens: Tokens, corpus: SmallCorpus, vocabulary: Vocabulary
):
    processor, rows = processor_of(vocabulary), tokens.rows("train")
    texts = {
        document["id"]: document
        for path in corpus.paths("train/")
        for document in pq.read_table(path).to_pylist()
    }
    for row in range(0, len(rows), 97):
        batch = rows.batch(np.array([row]))
        for number, origin in enumerate(rows.origin(row)):
            document = texts[origin.document]
            whole = [BEGIN_ID, *processor.encode(neutralise(document["text"])), END_ID]
            piece = batch.tokens_BT[batch.documents_BT == number]
            assert piece.tolist() == whole[origin.start : origin.start + origin.tokens]
            assert origin.url == document["url"]


def test_making_it_again_gives_the_same_bytes(
    tokens: Tokens, store: Store, texts: list[str], compute: Compute
):
    corpus = small_corpus(store, texts)
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=2048))
    again = tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=ROW_TOKENS), compute)
    assert again.record.digest == tokens.record.digest


def test_an_interrupted_tokenize_resumes_to_identical_shards(
    tokens: Tokens, store: Store, texts: list[str], compute: Compute
):
    corpus = small_corpus(store, texts)
    vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=2048))
    config = TokensConfig(row_tokens=ROW_TOKENS)
    planned = tokenize(PlanningStore(store.storage.root), corpus, vocabulary, config, compute)
    killed = Attempt(store.storage, planned.stage, planned.key, "killed")
    shard = EncodeShard(corpus, vocabulary, "train/00001.parquet")
    compute.map_shards(killed, "encode", {"train-00001": shard}, encode_shard)
    made = tokenize(store, corpus, vocabulary, config, compute)
    reused = [name for name, file in made.record.files.items() if file.path.startswith("attempts/killed/")]
    assert sorted(reused) == ["train/00001.documents.parquet", "train/00001.tokens.npy"]
    assert made.record.digest == tokens.record.digest


def test_many_pieces_are_written_as_four_bytes(corpus: SmallCorpus, vocabulary: Vocabulary, tmp_path: Path):
    large = Vocabulary(vocabulary.storage, vocabulary.key)
    large._record = vocabulary.record.model_copy(update={"counts": {"pieces": 70_000}})
    encode_shard(EncodeShard(corpus, large, "held-out/00000.parquet"), ShardOutput(tmp_path))
    assert np.load(tmp_path / "held-out/00000.tokens.npy").dtype == np.uint32


def test_an_empty_shard_does_no_harm(store: Store, vocabulary: Vocabulary, compute: Compute):
    corpus = small_corpus(store, ["one", "two", "three"], SmallCorpusConfig(held_out=1))
    made = tokenize(store, corpus, vocabulary, TokensConfig(row_tokens=16), compute)
    assert np.load(made.path("held-out/00001.tokens.npy")).shape == (0,)
    assert made.rows("held-out").batch(np.array([0])).tokens_BT.shape == (1, 16)


def test_an_empty_split_is_told(store: Store, vocabulary: Vocabulary, compute: Compute):
    corpus = small_corpus(store, ["one", "two"], SmallCorpusConfig(held_out=0))
    with pytest.raises(EmptySplitError, match=r"the held-out split of hold-out/.* has no documents"):
        tokenize(store, corpus, vocabulary, TokensConfig(), compute)
