"""MB of text per CPU-second made into token files, against SentencePiece alone on the same text."""

import argparse
import tempfile
from pathlib import Path

from pipeline.compute import ShardOutput
from pipeline.store import Store
from pipeline.tokens.encode import EncodeShard, encode_shard
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import VocabularyConfig, train_vocabulary
from tests.benchmarks.measure import Result, cpu_seconds, in_turn
from tests.benchmarks.texts import texts
from tests.tokens.conftest import processor_of, small_corpus


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pieces", type=int, default=4096, help="size of the vocabulary")


def run(given: argparse.Namespace) -> Result:
    """Ours is what the stage's Ray task does with a file of the corpus: read Parquet, make markers
    harmless, encode, check, write ids and index. The reference has its texts and its model in memory."""
    with tempfile.TemporaryDirectory(prefix="moinho-encode-") as name:
        folder = Path(name)
        store = Store(str(folder / "store"))
        corpus = small_corpus(store, texts())
        vocabulary = train_vocabulary(store, corpus, VocabularyConfig(pieces=given.pieces))
        shards = [EncodeShard(corpus, vocabulary, shard) for shard in corpus.names("train/")]
        harmless = [neutralise(text) for text in corpus.texts("train")]
        megabytes = sum(len(text.encode()) for text in corpus.texts("train")) / 1e6
        processor = processor_of(vocabulary)
        expected = sum(map(len, processor.encode(harmless, num_threads=1)))

        def ours() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as output, cpu_seconds() as took:
                counts = [encode_shard(shard, ShardOutput(Path(output))) for shard in shards]
            found = sum(count["train.tokens"] - 2 * count["train.documents"] for count in counts)
            if found != expected:
                raise RuntimeError(f"{found} ids were written, SentencePiece gives {expected}")
            return megabytes / took[0]

        def reference() -> float:
            with cpu_seconds() as took:
                processor.encode(harmless, return_type="numpy", num_threads=1)
            return megabytes / took[0]

        pairs = in_turn(ours, reference, given.pairs)
        figures = {"megabytes": megabytes, "documents": len(harmless), "pieces": given.pieces}
        return Result("encode", "MB of text per CPU-second", 0.9, pairs, figures)
