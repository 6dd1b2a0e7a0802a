"""SentencePiece's models for the `tokenizers` library, where transformers has no conversion of its own.

transformers converts BPE alone to equal ids; the others are made here from the same pieces.
"""

from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pipeline.tokens.learn import read_model
from pipeline.tokens.markers import SPACE_SIGN, UNKNOWN, UNKNOWN_ID

NORMAL = 1
"""SentencePiece's type of pieces that are neither markers nor bytes."""
NEVER = -1e4
"""A score that no way through a text takes: so that `<0x0A>` as written in a page is not taken for a byte."""


def fast_tokenizer(model: bytes, kind: str) -> Tokenizer:
    """The tokenizer of a unigram, char or word model, with the model's ids.

    A word model cuts at spaces alone and looks up whole words. A word that is not in the vocabulary
    is written in those single characters that are, and in bytes.
    """
    pieces = read_model(model).pieces
    made = Tokenizer(_unigram(pieces) if kind == "unigram" else _look_up(pieces, kind == "word"))
    made.normalizer = normalizers.Replace(" ", SPACE_SIGN)
    if kind == "word":
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Metaspace(SPACE_SIGN, prepend_scheme="never", split=True),
                # A text that begins with `<0x0A>` as written in a page does not begin with that byte.
                pre_tokenizers.Split(Regex("<(?=0x)"), "merged_with_previous"),
            ]
        )
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_SIGN, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def _unigram(pieces: Any) -> Any:
    scored = [(each.piece, each.score if each.type == NORMAL else NEVER) for each in pieces]
    return models.Unigram(scored, unk_id=UNKNOWN_ID, byte_fallback=True)


def _look_up(pieces: Any, whole_words: bool) -> Any:
    """BPE without merges: characters, or with `ignore_merges` whole words where the vocabulary has them."""
    ids = {each.piece: index for index, each in enumerate(pieces)}
    return models.BPE(ids, [], unk_token=UNKNOWN, byte_fallback=True, ignore_merges=whole_words)
