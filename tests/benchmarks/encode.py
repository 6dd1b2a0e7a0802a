"""MB of text per CPU-second made into token files, against the bare library on the same text."""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline.shards import ShardOutput
from pipeline.store import Store
from pipeline.tokens.encode import EncodeShard, encode_shard
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import FOLDER, Vocabulary, VocabularyConfig, train_vocabulary
from tests.benchmarks.measure import Result, cpu_seconds, in_turn
from tests.benchmarks.texts import texts
from tests.tokens.conftest import processor_of, small_corpus

Bare = Callable[[list[str]], list[Any]]
"""Encodes texts on one thread and hands back a sequence of ids for each."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pieces", type=int, default=4096, help="size of the vocabulary")
    parser.add_argument("--model", default="bpe", help="kind of the vocabulary: bpe, unigram or char")
    parser.add_argument(
        "--foreign", action="store_true", help="a byte-level BPE of tokenizers, taken over, in its place"
    )


def run(given: argparse.Namespace) -> Result:
    """Ours is what the stage's Ray task does with a file of the corpus: read Parquet, make markers
    harmless, encode, check, write ids and index. The reference has its texts and its model in memory."""
    with tempfile.TemporaryDirectory(prefix="moinho-encode-") as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        corpus = small_corpus(store, texts())
        config = VocabularyConfig(pieces=given.pieces, model=given.model)
        if given.foreign:
            config = VocabularyConfig(tokenizer=str(_byte_level(folder / "foreign", given.pieces)))
        vocabulary = train_vocabulary(store, corpus, config)
        shards = [EncodeShard(corpus, vocabulary, shard) for shard in corpus.names("train/")]
        markers = vocabulary.encoder().markers
        harmless = [neutralise(text, markers) for text in corpus.texts("train")]
        megabytes = sum(len(text.encode()) for text in corpus.texts("train")) / 1e6
        bare = _tokenizers(vocabulary) if given.foreign else _sentencepiece(vocabulary)
        expected = sum(map(len, bare(harmless)))

        def ours() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as output, cpu_seconds() as took:
                counts = [encode_shard(shard, ShardOutput(Path(output))) for shard in shards]
            found = sum(count["train.tokens"] - 2 * count["train.documents"] for count in counts)
            if found != expected:
                raise RuntimeError(f"{found} ids were written, the bare library gives {expected}")
            return megabytes / took[0]

        def reference() -> float:
            with cpu_seconds() as took:
                bare(harmless)
            return megabytes / took[0]

        pairs = in_turn(ours, reference, given.pairs)
        figures = {
            "megabytes": megabytes,
            "documents": len(harmless),
            "pieces": vocabulary.pieces,
            "vocabulary": "foreign" if given.foreign else given.model,
        }
        return Result("encode", "MB of text per CPU-second", 0.9, pairs, figures)


def _sentencepiece(vocabulary: Vocabulary) -> Bare:
    processor = processor_of(vocabulary)
    return lambda texts: processor.encode(texts, return_type="numpy", num_threads=1)


def _tokenizers(vocabulary: Vocabulary) -> Bare:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    fast = Tokenizer.from_file(str(vocabulary.folder(FOLDER) / "tokenizer.json"))
    return lambda texts: [each.ids for each in fast.encode_batch_fast(texts, add_special_tokens=False)]


def _byte_level(folder: Path, pieces: int) -> Path:
    made: Any = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts(), trainer)
    wrapper: Any = PreTrainedTokenizerFast
    wrapper(tokenizer_object=made).save_pretrained(folder)
    return folder
