"""Learning pieces with SentencePiece's BPE.

Its unigram model encodes five times as fast, but where two ways to cut a text are equally likely
(`### # #` or `# # ###`), transformers takes another one than SentencePiece does: ids would differ.
"""

import io
import re
import string
from collections.abc import Sequence

import sentencepiece

from pipeline.tokens.markers import BEGIN_ID, END_ID, MARKERS, PAD_ID, UNKNOWN_ID
from pipeline.tokens.vocabulary import VocabularyConfig, VocabularySizeError

THREADS = 4
"""Fixed, not the machine's: the model's bytes depend on it."""
LONGEST_TEXT_BYTES = 1 << 30
"""SentencePiece leaves out sentences over its limit (4,192 bytes by default); ours are documents."""
ASCII = string.ascii_letters + string.digits + string.punctuation
"""Characters that are pieces even if the text hardly has them: questions need their question mark."""
MEASURED_DOCUMENTS = 500


def learn_pieces(texts: Sequence[str], config: VocabularyConfig) -> bytes:
    """The SentencePiece model, serialized. Equal bytes for equal texts and configuration.

    Documents are given whole, with their line ends and indentation: `.\\n\\n` and runs of spaces
    become pieces (documentation takes 8 % fewer tokens than with line ends held apart).
    Raises VocabularySizeError.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=config.pieces,
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
        raise _explained(error, texts, config) from error
    return model.getvalue()


def _explained(error: RuntimeError, texts: Sequence[str], config: VocabularyConfig) -> Exception:
    """SentencePiece's fault in the user's words, where it is one of sizes."""
    found = f"vocabulary.pieces is {config.pieces}; the {sum(map(len, texts)):,} characters of training text"
    if match := re.search(r"set it to a value <= (\d+)", str(error)):
        return VocabularySizeError(f"{found} give {match.group(1)} at most: set {match.group(1)} or fewer")
    if match := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
        return VocabularySizeError(
            f"{found} need {match.group(1)} for single characters alone: set at least that, or lower "
            f"vocabulary.character_coverage (now {config.character_coverage}) so that rare ones become bytes"
        )
    return error


def encode(model: bytes, texts: Sequence[str]) -> list[list[int]]:
    """The ids of neutralised texts."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids: list[list[int]] = processor.encode(list(texts))
    return ids


def bytes_per_token(model: bytes, texts: Sequence[str]) -> float:
    """UTF-8 bytes per token over a sample of the texts."""
    measured = texts[:: max(1, len(texts) // MEASURED_DOCUMENTS)]
    tokens = sum(map(len, encode(model, measured)))
    return sum(len(text.encode()) for text in measured) / max(tokens, 1)
