"""The vocabulary: SentencePiece pieces learned from the training documents, or a tokenizer taken over.

A learned one is kept in two forms with equal ids: `tokenizer.model` for SentencePiece, which encodes the
corpus (but words, which `tokenizers` looks up), and the files that `AutoTokenizer.from_pretrained` reads,
which travel with every model. One that is taken over has the latter alone.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError, StageError
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.tokens.markers import MARKERS, neutralise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipeline.tokens.encoders import Encoder, FastEncoder, Ids
    from pipeline.tokens.learn import Counted
    from pipeline.tokens.sample import Sample

Kind = Literal["bpe", "unigram", "char", "word"]
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(?<!\.json)")
COMMIT = re.compile("[0-9a-f]{40}")
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
    tokenizer: str | None = None
    """A tokenizer that is taken over in place of learning one, such as a foreign base model's: a folder with
    tokenizer.json, such a file, a SentencePiece .model of BPE or unigram, or a name on the hub. Its ids
    stay, our control symbols come behind, and `model`, `pieces` and `character_coverage` say nothing. One
    that loses text is refused."""
    tokenizer_revision: str | None = None
    """The commit of a tokenizer on the hub (40 hexadecimal digits)."""
    extend: int = Field(default=0, ge=0, le=LARGEST_PIECES)
    """Pieces at most that are learned from this corpus for the tokenizer that is taken over, if it is of BPE
    or unigram: joins of its own, with ids behind all others."""
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

    def on_hub(self) -> bool:
        """Whether the tokenizer that is taken over is not on this machine."""
        return self.tokenizer is not None and not Path(self.tokenizer).exists()

    def identity(self) -> dict[str, Any]:
        """Without where the tokenizer lies: its content is in the key by itself."""
        found = super().identity()
        places = ("tokenizer", "tokenizer_revision")
        return {name: value for name, value in found.items() if name not in places}

    @model_validator(mode="after")
    def tokenizer_is_one_and_the_same(self) -> Self:
        if self.on_hub() and not HUB_NAME.fullmatch(self.tokenizer or ""):
            raise ValueError(f"there is no file or folder {self.tokenizer!r}; paths count from here")
        if self.on_hub() and not COMMIT.fullmatch(self.tokenizer_revision or ""):
            raise ValueError(
                f"there is no file or folder {self.tokenizer!r}; if that is the name of one on the hub, "
                f"set tokenizer_revision (now {self.tokenizer_revision!r}) to its commit of 40 hexadecimal "
                "digits, since a branch may change"
            )
        if self.tokenizer_revision and not self.on_hub():
            raise ValueError("tokenizer_revision is of tokenizers on the hub alone; leave it out")
        return self

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

    passes = False
    remedy = "Give the flow more pages, or loosen the rules of [clean]."


class VocabularyLosesTextError(InputError):
    """The tokenizer that was to be taken over does not give texts of the corpus back as they were."""

    remedy = "Take one that keeps all text, or leave vocabulary.tokenizer out to learn one."


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
    """Learn the pieces from the corpus' training documents, or take over a tokenizer that is there.

    Raises VocabularySizeError with the number that would work, and NoTextError; of a tokenizer that is
    taken over ForeignTokenizerError, VocabularyLosesTextError and CannotExtendError.
    """
    from pipeline.tokens.foreign import content_of, foreseen_pieces

    def work() -> Work:
        read = min(corpus.counts().get("train.bytes", 0), config.sample_bytes)
        return {"pieces": foreseen_pieces(config), "bytes": read, f"{config.model}.bytes": read}

    return store.make(
        Vocabulary,
        config,
        {"corpus": corpus},
        partial(_build, corpus=corpus, config=config),
        content=content_of(config),
        work=work,
    )


def _build(attempt: Attempt, corpus: Corpus, config: VocabularyConfig) -> Made:
    from pipeline.tokens.sample import Sample

    journal, sample = attempt.journal("vocabulary"), Sample(corpus, config)
    if next(iter(sample), None) is None:
        raise NoTextError(
            f"the training split of {corpus.base} holds no text to learn a vocabulary from; "
            "give the flow more pages, or loosen the rules of [clean]"
        )
    foreseen = min(corpus.record.counts.get("train.bytes", 0), config.sample_bytes)
    journal.progress(0, foreseen, "bytes")
    make = _learned if config.tokenizer is None else _taken_over
    texts, pieces, measured = make(attempt.path(FOLDER), sample, config)
    journal.progress(texts.bytes, texts.bytes, "bytes", documents=texts.documents)
    return Made(
        files=attempt.publish_folder(FOLDER),
        counts={"pieces": pieces, "documents": texts.documents, "bytes": texts.bytes},
        figures={"bytes_per_token": measured},
    )


def _learned(folder: Path, sample: "Sample", config: VocabularyConfig) -> tuple["Counted", int, float]:
    """What was read, number of ids, bytes per token."""
    from pipeline.tokens import learn, transformers_files
    from pipeline.tokens.encoders import open_encoder

    texts = learn.Counted(map(neutralise, sample))
    model = learn.learn_pieces(texts, config)
    transformers_files.write_folder(model, config.model, folder)
    measured = [neutralise(text) for text in _some(sample, texts.documents)]
    ids = open_encoder(folder).encode(measured)
    transformers_files.Comparison(folder)(measured, ids)
    return texts, learn.pieces_of(model), _bytes_per_token(measured, ids)


def _taken_over(folder: Path, sample: "Sample", config: VocabularyConfig) -> tuple["Counted", int, float]:
    """The same of a tokenizer that was made elsewhere."""
    from pipeline.tokens.encoders import FastEncoder
    from pipeline.tokens.foreign import local_tokenizer
    from pipeline.tokens.learn import Counted
    from pipeline.tokens.take_over import take_over

    texts = Counted(sample)
    pieces = take_over(local_tokenizer(config), folder, texts, config.extend)
    encoder = FastEncoder(folder)
    measured = [neutralise(text, encoder.markers) for text in _some(sample, sum(1 for _ in sample))]
    ids = encoder.encode(measured)
    require_unchanged(f"the tokenizer {config.tokenizer}", encoder, measured, ids)
    return texts, pieces, _bytes_per_token(measured, ids)


def require_unchanged(
    source: str, encoder: "FastEncoder", texts: Sequence[str], encoded: Sequence["Ids"]
) -> None:
    """Raises VocabularyLosesTextError unless every neutralised text comes back exactly from its ids."""
    lost = encoder.changed(texts, encoded)
    if lost:
        number, back = lost[0]
        text = texts[number]
        pairs = enumerate(zip(text, back, strict=False))
        place = next((place for place, (one, other) in pairs if one != other), min(len(text), len(back)))
        here = slice(max(0, place - 20), place + 20)
        raise VocabularyLosesTextError(
            f"{len(lost)} of {len(texts)} documents do not come back from {source}: {text[here]!r} comes "
            f"back as {back[here]!r}; a corpus would lose text. Take a tokenizer that keeps all of it "
            "(byte-level BPE without normalization does), or leave vocabulary.tokenizer out to learn one"
        )


def _some(sample: "Sample", documents: int) -> list[str]:
    every = max(1, documents // MEASURED_DOCUMENTS)
    return list(islice(sample, 0, None, every))


def _bytes_per_token(texts: Sequence[str], ids: Sequence["Ids"]) -> float:
    return sum(len(text.encode()) for text in texts) / max(1, sum(map(len, ids)))
