"""What stands in a gap, by models that learned to fill gaps: masked (BERT and its kin), denoising (T5, BART).

T tokens, V vocabulary.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError
from pipeline.models.model import load_tokenizer

GAP = "___"
"""How a user writes a gap."""
LONGEST_FILLING = 16
"""In tokens, of a model that writes its fillings."""


class NoGapError(InputError):
    """The text to fill has not one gap, or the model is of a kind that fills none."""

    remedy = "Write ___ once where something is missing, and name a masked or a denoising model."


def fill(folder: Path, text: str, top: int = 10) -> dict[str, float]:
    """The likeliest fillings of the one gap `___` with their probabilities, descending.

    A masked model chooses one token; a denoising one writes what is missing, by beam search, and the
    probability is that of all its tokens. Raises NoGapError.
    """
    from transformers import AutoConfig

    if text.count(GAP) != 1:
        raise NoGapError(f"{text.count(GAP)} gaps in {text!r}; write {GAP} once, where something is missing")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    architecture = (config.architectures or [""])[0]
    kinds: dict[str, Callable[[Path, str, int], dict[str, float]]] = {
        "ForMaskedLM": _masked,
        "ForPreTraining": _masked,  # BERT with its head of next sentences besides
        "ForConditionalGeneration": _denoised,
    }
    for ending, filled in kinds.items():
        if architecture.endswith(ending):
            return filled(folder, text, top)
    raise NoGapError(
        f"{architecture or config.model_type} fills no gaps: name a masked model (BERT, RoBERTa) or a "
        f"denoising one (T5, BART); what may come next is told by `moinho complete`"
    )


def _masked(folder: Path, text: str, top: int) -> dict[str, float]:
    from transformers import AutoModelForMaskedLM

    model, tokenizer = _loaded(AutoModelForMaskedLM, folder)
    before, after = text.split(GAP)
    given = tokenizer(before + tokenizer.mask_token + after, return_tensors="pt")
    place = int((given["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0, 0])
    with torch.inference_mode():
        probabilities_V = model(**given).logits[0, place].float().softmax(-1)
    best = probabilities_V.topk(min(top, probabilities_V.numel()))
    return {
        tokenizer.decode([token]).strip(): value
        for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    }


def _denoised(folder: Path, text: str, top: int) -> dict[str, float]:
    from transformers import AutoModelForSeq2SeqLM

    model, tokenizer = _loaded(AutoModelForSeq2SeqLM, folder)
    before, after = text.split(GAP)
    sentinels = [tokenizer.convert_tokens_to_ids(f"<extra_id_{number}>") for number in (0, 1)]
    has_sentinels = tokenizer.unk_token_id not in sentinels and None not in sentinels
    gap = "<extra_id_0>" if has_sentinels else tokenizer.mask_token
    given = tokenizer(before + gap + after, return_tensors="pt")
    with torch.inference_mode():
        found = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            max_new_tokens=LONGEST_FILLING + (0 if has_sentinels else given["input_ids"].shape[1]),
            num_beams=max(2, top),  # one beam has no score
            num_return_sequences=top,
            length_penalty=0.0,
            early_stopping=True,
            return_dict_in_generate=True,
            output_scores=True,
        )
    fillings: dict[str, float] = {}
    for ids, score in zip(found.sequences.tolist(), found.sequences_scores.tolist(), strict=True):
        if has_sentinels:
            begin = ids.index(sentinels[0]) + 1 if sentinels[0] in ids else 0
            end = ids.index(sentinels[1]) if sentinels[1] in ids else len(ids)
            filling = tokenizer.decode(ids[begin:end], skip_special_tokens=True).strip()
        else:
            whole = tokenizer.decode(ids, skip_special_tokens=True).strip()
            filling = whole.removeprefix(before.strip()).removesuffix(after.strip()).strip()
        fillings.setdefault(filling, float(torch.tensor(score).exp()))
    return fillings


def _loaded(kind: Any, folder: Path) -> tuple[Any, Any]:
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, trust_remote_code=False)
    model.train(False)
    return model, load_tokenizer(folder)
