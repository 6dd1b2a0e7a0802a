"""The vocabulary: SentencePiece pieces learned from the training documents.

Kept in two forms with equal ids: `tokenizer.model` for SentencePiece, which encodes the corpus (but
words, which `tokenizers` looks up), and the files that `AutoTokenizer.from_pretrained` reads, which
travel with every model.
"""

import math
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError, StageError
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tokens.markers import MARKERS, neutralise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipeline.tokens.encoders import Encoder

Kind = Literal["bpe", "unigram", "char", "word"]
LARGEST_PIECES = 1 << 20
BYTES_PER_TOKEN, MORE_WITH_DOUBLE = 3.45, 0.35
"""With 4,096 pieces, and how much more with twice as many. Learned on documentation: 3.39, 3.49 (English) and
3.49 (Portuguese) with 4,096, 2.75 with 1,024; GPT-2's 50,257 pieces have about 4.5 on the web's text."""
FOLDER = "tokenizer"
MEASURED_DOCUMENTS = 500
"""Of the sample, so many are encoded by both libraries, and their bytes per token measured."""


class VocabularyConfig(Config):
    """What the vocabulary is learned from, and how large it is."""

    model: Kind = "bpe"
    """What pieces are: `bpe`, strings that are frequent; `unigram`, strings that together explain the text
    best, encoded five times as fast; `char`, characters; `word`, what stands between spaces. What no piece
    covers is written in bytes, so that every text comes back exactly."""
    pieces: int = Field(default=4096, ge=len(MARKERS) + 256 + 1, le=LARGEST_PIECES)
    """Entries: control symbols and the 256 bytes included. A `char` or `word` model has fewer if the text
    has fewer characters or words."""
    character_coverage: float = Field(default=0.9995, gt=0.9, le=1)
    """Share of the text's characters that get a piece of their own; the others are written in bytes."""
    sample_bytes: int = Field(default=100_000_000, ge=1)
    """About how much text is learned from; documents are drawn from a larger corpus (UTF-8 bytes). Learning
    takes some 6 bytes of memory for each with `bpe`, and 20 with `unigram`."""
    language_shares: dict[str, float] | None = None
    """Language → its share of `sample_bytes`, such as {en = 0.5, pt-BR = 0.5}; languages that are not named
    are left out, and one with too little text gives what it has. Default: as the corpus has them."""
    seed: int = 0
    """Which documents are drawn."""

    @field_validator("language_shares")
    @classmethod
    def shares_are_parts_of_one(cls, shares: dict[str, float] | None) -> dict[str, float] | None:
        if shares is not None and not (
            shares and min(shares.values()) > 0 and math.isclose(sum(shares.values()), 1, abs_tol=1e-3)
        ):
            raise ValueError(
                f"found {shares}; give each language a share over 0 so that all are 1 together, "
                "such as {en = 0.5, pt-BR = 0.5}"
            )
        return shares


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

    stage, role, revision = "vocabulary", "vocabulary", 2

    @property
    def pieces(self) -> int:
        """Number of ids, control symbols included."""
        return int(self.counts()["pieces"])

    def bytes_per_token(self) -> float:
        """Of the text that it was learned from; in a plan a guess by the number of pieces."""
        if not self.exists():
            return max(1.0, BYTES_PER_TOKEN + MORE_WITH_DOUBLE * math.log2(self.pieces / 4096))
        return self.record.figures["bytes_per_token"]

    def encoder(self) -> "Encoder":
        """For text that went through `neutralise`: it knows no control symbols in text."""
        from pipeline.tokens.encoders import open_encoder

        return open_encoder(self.folder(FOLDER))

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
    from pipeline.tokens.encoders import open_encoder
    from pipeline.tokens.sample import Sample

    journal, sample = attempt.journal("vocabulary"), Sample(corpus, config)
    if next(iter(sample), None) is None:
        raise NoTextError(
            f"the training split of {corpus.base} holds no text to learn a vocabulary from; "
            "give the flow more pages, or loosen the rules of [clean]"
        )
    foreseen = min(corpus.record.counts.get("train.bytes", 0), config.sample_bytes)
    journal.progress(0, foreseen, "bytes")
    texts = learn.Counted(map(neutralise, sample))
    model = learn.learn_pieces(texts, config)
    folder = attempt.path(FOLDER)
    transformers_files.write_folder(model, config.model, folder)
    every = max(1, texts.documents // MEASURED_DOCUMENTS)
    measured = [neutralise(text) for text in islice(sample, 0, None, every)]
    ids = open_encoder(folder).encode(measured)
    transformers_files.Comparison(folder)(measured, ids)
    journal.progress(texts.bytes, texts.bytes, "bytes", documents=texts.documents)
    return Made(
        files=attempt.publish_folder(FOLDER),
        counts={"pieces": learn.pieces_of(model), "documents": texts.documents, "bytes": texts.bytes},
        figures={
            "bytes_per_token": sum(len(text.encode()) for text in measured) / max(1, sum(map(len, ids)))
        },
    )
