"""Learning pieces with SentencePiece: BPE, unigram, characters or words."""

import io
import re
import string
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece

from pipeline.tokens.markers import BEGIN_ID, END_ID, MARKERS, PAD_ID, UNKNOWN_ID
from pipeline.tokens.vocabulary import VocabularyConfig, VocabularySizeError

THREADS = 4
"""Fixed, not the machine's: the model's bytes depend on it."""
LONGEST_TEXT_BYTES = 1 << 30
"""SentencePiece leaves out sentences over its limit (4,192 bytes by default); ours are documents."""
ASCII = string.ascii_letters + string.digits + string.punctuation
"""Characters that are pieces even if the text hardly has them: questions need their question mark."""
SCORE_STEPS = 32
"""A unigram score is a multiple of 1/32, so that sums of single precision are exact up to 524,288
(documents of some 200 kB), and SentencePiece and transformers, which sums in double precision, choose
alike where two ways to cut a text are equally likely (`### # #` or `# # ###`)."""


class Counted:
    """Texts, counted as they are handed on."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.documents = self.characters = self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.documents += 1
            self.characters += len(text)
            self.bytes += len(text.encode())
            yield text


def learn_pieces(texts: Counted, config: VocabularyConfig) -> bytes:
    """The SentencePiece model, serialized. Equal bytes for equal texts and configuration.

    Documents are given whole, with their line ends and indentation: `.\n\n` and runs of spaces
    become pieces (documentation takes 8 % fewer tokens than with line ends held apart). What no
    piece covers is written in bytes, whatever the kind of model.
    Raises VocabularySizeError.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=config.model,
            vocab_size=config.pieces,
            # A text has as many characters and words as it has: fewer than asked for are no fault.
            hard_vocab_limit=config.model in ("bpe", "unigram"),
            required_chars=ASCII,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            unk_id=UNKNOWN_ID,
            bos_id=BEGIN_ID,
            eos_id=END_ID,
            pad_id=PAD_ID,
            control_symbols=list(MARKERS[PAD_ID + 1 :]),
            max_sentence_length=LONGEST_TEXT_BYTES,
            num_threads=THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, texts.characters, config) from error
    return _with_exact_sums(model.getvalue()) if config.model == "unigram" else model.getvalue()


def _with_exact_sums(model: bytes) -> bytes:
    proto = read_model(model)
    for piece in proto.pieces:
        piece.score = round(piece.score * SCORE_STEPS) / SCORE_STEPS
    made: bytes = proto.SerializeToString(deterministic=True)
    return made


def read_model(model: bytes) -> Any:
    """SentencePiece's own message: `pieces` with piece, score and type."""
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    proto.ParseFromString(model)
    return proto


def pieces_of(model: bytes) -> int:
    """Number of ids, markers included."""
    return len(read_model(model).pieces)


def _explained(error: RuntimeError, characters: int, config: VocabularyConfig) -> Exception:
    """SentencePiece's fault in the user's words, where it is one of sizes."""
    found = f"vocabulary.pieces is {config.pieces}; the {characters:,} characters of training text"
    if match := re.search(r"set it to a value <= (\d+)", str(error)):
        return VocabularySizeError(f"{found} give {match.group(1)} at most: set {match.group(1)} or fewer")
    if match := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
        return VocabularySizeError(
            f"{found} need {match.group(1)} for single characters alone: set at least that, or lower "
            f"vocabulary.character_coverage (now {config.character_coverage}) so that rare ones become bytes"
        )
    return error
