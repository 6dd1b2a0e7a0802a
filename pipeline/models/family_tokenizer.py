"""A vocabulary's tokenizer with the control symbols that a family needs besides: a mask, or sentinels.

They come behind all other ids, so that the tokens of a corpus are the same whatever family learns from them,
and travel with the model. What is read is put between the symbols that the family reads in training.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.families import FAMILIES, FamilyName
from pipeline.models.model import load_tokenizer
from pipeline.models.noise import Noise
from pipeline.models.objectives.batches import NextToken, Objective
from pipeline.models.objectives.denoising import Denoising, Infilling, SpanCorruption
from pipeline.models.objectives.masking import Masking, NextSentence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MASK = "<mask>"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))
SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*$|[\nĊ]""")
"""The last characters of a token that ends a sentence; a line's end, in byte-level spelling too."""


def family_tokenizer(folder: Path, family: FamilyName) -> "PreTrainedTokenizerBase":
    """The tokenizer in the folder; for families that hide tokens with what stands in their place."""
    tokenizer = load_tokenizer(folder)
    learning = FAMILIES[family].learning
    if learning == "next-token":
        return tokenizer
    return _with_symbols(tokenizer, SENTINELS if learning == "span-corruption" else (MASK,))


def _with_symbols(
    tokenizer: "PreTrainedTokenizerBase", symbols: tuple[str, ...]
) -> "PreTrainedTokenizerBase":
    """Symbols stand for tokens, which begin with their space: a mask takes the space before it along."""
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend: Any = tokenizer
    made = Tokenizer.from_str(backend.backend_tokenizer.to_str())
    made.add_special_tokens([AddedToken(symbol, lstrip=True, special=True) for symbol in symbols])
    begin, end = tokenizer.bos_token, tokenizer.eos_token
    made.post_processor = TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(each, made.token_to_id(each)) for each in (begin, end)],
    )
    wrapper: Any = PreTrainedTokenizerFast
    given = {"mask_token": MASK} if MASK in symbols else {}
    special = [each for each in tokenizer.all_special_tokens if each not in (begin, end)]
    wrapped: PreTrainedTokenizerBase = wrapper(
        tokenizer_object=made,
        bos_token=begin,
        eos_token=end,
        unk_token=tokenizer.unk_token,
        pad_token=tokenizer.pad_token,
        cls_token=begin,
        sep_token=end,
        extra_special_tokens=[
            *(each for each in special if each not in (tokenizer.unk_token, tokenizer.pad_token)),
            *(() if MASK in symbols else symbols),
        ],
        clean_up_tokenization_spaces=False,
        **given,
    )
    return wrapped


def objective_of(
    family: FamilyName,
    noise: Noise | None,
    tokenizer: "PreTrainedTokenizerBase",
    base_pieces: int,
    row_tokens: int,
    seed: int,
) -> Objective:
    """What the family makes of rows. `tokenizer` is the family's; of its ids the first `base_pieces` are the
    vocabulary's."""
    learning = FAMILIES[family].learning
    if noise is None:
        return NextToken()
    ids: Any = tokenizer
    if learning == "masked":
        ordinary = np.setdiff1d(np.arange(base_pieces), np.array(ids.all_special_ids))
        masking = Masking(seed, noise.share, ids.mask_token_id, ordinary, static=family == "bert")
        return NextSentence(masking, ids.eos_token_id) if family == "bert" else masking
    assert noise.span is not None
    kind: SpanCorruption | Infilling
    if learning == "span-corruption":
        sentinels = tuple(ids.convert_tokens_to_ids(list(SENTINELS)))
        kind, start = SpanCorruption(noise.share, noise.span, sentinels, ids.eos_token_id), ids.pad_token_id
    else:
        ends = sentence_ends(tokenizer)
        kind = Infilling(noise.share, noise.span, ids.mask_token_id, ids.eos_token_id, ends)
        start = ids.eos_token_id
    return Denoising(seed, kind, row_tokens, start, ids.pad_token_id)


def sentence_ends(tokenizer: "PreTrainedTokenizerBase") -> NDArray[np.bool_]:
    """[ids]: whether a sentence, or a line, ends with the token."""
    names: Any = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return np.array([bool(SENTENCE_END.search(name)) for name in names])
