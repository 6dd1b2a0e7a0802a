"""The vocabulary: SentencePiece pieces learned from the training documents.

Kept in two forms with equal ids: `tokenizer.model` for SentencePiece, which encodes the corpus,
and the files that `AutoTokenizer.from_pretrained` reads, which travel with every model.
"""

import math
import random
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError, StageError
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tokens.markers import MARKERS

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerFast

LARGEST_PIECES = 1 << 20
BYTES_PER_TOKEN, MORE_WITH_DOUBLE = 3.45, 0.35
"""With 4,096 pieces, and how much more with twice as many. Learned on documentation: 3.39, 3.49 (English) and
3.49 (Portuguese) with 4,096, 2.75 with 1,024; GPT-2's 50,257 pieces have about 4.5 on the web's text."""
FOLDER = "tokenizer"


class VocabularyConfig(Config):
    """What the vocabulary is learned from, and how large it is."""

    pieces: int = Field(default=4096, ge=len(MARKERS) + 256 + 1, le=LARGEST_PIECES)
    """Entries: control symbols and the 256 bytes included."""
    character_coverage: float = Field(default=0.9995, gt=0.9, le=1)
    """Share of the text's characters that get a piece of their own; the others are written in bytes."""
    sample_bytes: int = Field(default=100_000_000, ge=1)
    """About how much text is learned from; documents are drawn from a larger corpus (UTF-8 bytes)."""
    seed: int = 0
    """Which documents are drawn."""


class VocabularySizeError(InputError):
    """The text has fewer pieces to give than were asked for, or more characters than pieces."""

    remedy = "Set vocabulary.pieces to the number that the message gives."


class NoTextError(StageError):
    """There is no training text to learn pieces from."""

    remedy = "Give the flow more pages, or loosen the rules of [clean]."


class TokenizersDifferError(StageError):
    """The transformers tokenizer gives other ids than SentencePiece for a text."""

    remedy = "Install the version of transformers that pyproject.toml names."


class Vocabulary(Artifact):
    """Pieces and their ids. The ids of the control symbols are in `pipeline.tokens.markers`."""

    stage, role, revision = "vocabulary", "vocabulary", 1

    @property
    def pieces(self) -> int:
        """Number of ids, control symbols included."""
        return int(self.counts()["pieces"])

    def bytes_per_token(self) -> float:
        """Of the text that it was learned from; in a plan a guess by the number of pieces."""
        if not self.exists():
            return max(1.0, BYTES_PER_TOKEN + MORE_WITH_DOUBLE * math.log2(self.pieces / 4096))
        return self.record.figures["bytes_per_token"]

    def sentencepiece(self) -> "SentencePieceProcessor":
        """For text that went through `neutralise`: it knows no control symbols in text."""
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(self.path(f"{FOLDER}/tokenizer.model")))

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The transformers tokenizer, with the chat template. Adds no <s> or </s> of its own."""
        from pipeline.tokens.transformers_files import load_tokenizer

        return load_tokenizer(self.folder(FOLDER))


def train_vocabulary(store: Store, corpus: Corpus, config: VocabularyConfig) -> Vocabulary:
    """Learn the pieces from the corpus' training documents.

    Raises VocabularySizeError with the number that would work, and NoTextError.
    """
    return store.make(
        Vocabulary,
        config,
        {"corpus": corpus},
        partial(_build, corpus=corpus, config=config),
        work=lambda: {
            "pieces": config.pieces,
            "bytes": min(corpus.counts().get("train.bytes", 0), config.sample_bytes),
        },
    )


def _build(attempt: Attempt, corpus: Corpus, config: VocabularyConfig) -> Made:
    from pipeline.tokens import learn, transformers_files

    journal = attempt.journal("vocabulary")
    total_bytes = corpus.record.counts.get("train.bytes", 0)
    sample = [text for text in _draw(corpus, total_bytes, config) if text]
    if not sample:
        raise NoTextError(
            f"the training split of {corpus.base} holds no text to learn a vocabulary from; "
            "give the flow more pages, or loosen the rules of [clean]"
        )
    sample_bytes = sum(len(text.encode()) for text in sample)
    journal.progress(0, sample_bytes, "bytes", documents=len(sample))
    model = learn.learn_pieces(sample, config)
    folder = attempt.path(FOLDER)
    transformers_files.write_folder(model, folder)
    checked = sample[: transformers_files.CHECKED_DOCUMENTS]
    transformers_files.Comparison(folder)(checked, learn.encode(model, checked))
    journal.progress(sample_bytes, sample_bytes, "bytes", documents=len(sample))
    return Made(
        files=attempt.publish_folder(FOLDER),
        counts={"pieces": config.pieces, "documents": len(sample), "bytes": sample_bytes},
        figures={"bytes_per_token": learn.bytes_per_token(model, sample)},
    )


def _draw(corpus: Corpus, total_bytes: int, config: VocabularyConfig) -> Iterator[str]:
    """Neutralised training documents, in order; a document's luck hangs on the seed and its place."""
    from pipeline.tokens.markers import neutralise

    share = config.sample_bytes / max(total_bytes, 1)
    luck = random.Random(config.seed)
    for text in corpus.texts("train"):
        if luck.random() < share:
            yield neutralise(text)
