"""The Ray tasks that ask a model for held-out tokens, and time it.

All families are asked for the same tokens of the same documents: those that continue text with more and more
of what stands before them; all of them with what stands on both sides, as far as they can look there.

N targets, K tokens of context, T tokens, W width, V vocabulary.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.architectures import new_model
from pipeline.models.counted import CountedModel
from pipeline.models.families import FAMILIES, TokenIds, shape_of
from pipeline.models.model import MODEL_FOLDER, Model, load_tokenizer
from pipeline.models.recurrent import RecurrentForCausalLM
from pipeline.shards import ShardOutput
from pipeline.tokens.encode import Tokens
from pipeline.tokens.rows import open_tokens

Ids = NDArray[np.int64]
AT_ONCE = 32
GRADIENT_WINDOWS = 24
LENGTHS = (128, 256, 512, 1024, 2048, 4096)
"""Tokens of the rows that are timed."""
ROWS = (1, 2, 4, 8, 16, 32)
ROWS_OF = 128
"""Tokens of rows that are timed several at once."""
TRIES = 3
CLASSES = {
    "masked": "AutoModelForMaskedLM",
    "span-corruption": "AutoModelForSeq2SeqLM",
    "denoising": "AutoModelForSeq2SeqLM",
}


@dataclass(frozen=True)
class Asked:
    """A member of the history, and how many held-out tokens it is asked for."""

    name: str
    model: Model | CountedModel
    tokens: Tokens
    targets: int


def ask_member(work: Asked, output: ShardOutput) -> dict[str, int]:
    """Writes `<name>.json`: nats by length of context, bits of a hidden token, gradients by distance."""
    torch.set_num_threads(1)
    half = work.tokens.row_tokens // 2
    windows = windows_of(work.tokens, half, work.targets)
    found: dict[str, Any]
    if isinstance(work.model, CountedModel):
        found = _counted(work.model, windows, half)
    else:
        found = _asked(work.name, work.model, windows, half)
    output.path(f"{work.name}.json").write_text(json.dumps(found))
    return {"targets": len(windows)}


def windows_of(tokens: Tokens, half: int, most: int) -> Ids:
    """Stretches of one document each, [N, 2 half]: the token at `half` is asked for. Evenly spread over all
    that the held-out text has; none has a control symbol in it."""
    found = []
    for path in tokens.paths("held-out/"):
        if path.name.endswith(".tokens.npy"):
            ids = np.asarray(open_tokens(path)).astype(np.int64)
            borders = np.flatnonzero(ids < 8)
            for start in range(0, len(ids) - 2 * half, half):
                if np.searchsorted(borders, start) == np.searchsorted(borders, start + 2 * half):
                    found.append(ids[start : start + 2 * half])
    if not found:
        return np.empty((0, 2 * half), np.int64)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).astype(int))
    return np.stack([found[number] for number in chosen])


def contexts(half: int) -> list[int]:
    """Lengths of context that are tried: 1, 2, 4 … and as long as there is."""
    lengths = [1 << power for power in range(half.bit_length()) if 1 << power < half]
    return [*lengths, half]


def _counted(artifact: CountedModel, windows: Ids, half: int) -> dict[str, Any]:
    model = artifact.open()
    by_context = {
        length: float(
            np.mean(
                [-np.log(model.next(each[half - length : half].tolist())[each[half]]) for each in windows]
            )
        )
        for length in contexts(half)
    }
    return {"by_context": sorted(by_context.items()), "hidden_bits": by_context[half] / math.log(2)}


def _asked(name: str, artifact: Model, windows: Ids, half: int) -> dict[str, Any]:
    model, tokenizer = opened(name, artifact)
    family = FAMILIES[name]  # type: ignore[index]
    if not family.continues_text:
        nats = hidden_nats(family.learning, model, tokenizer, windows, half)
        return {"hidden_bits": float(nats.mean() / math.log(2))}
    by_context = [(length, float(_nats(model, windows, half, length).mean())) for length in contexts(half)]
    return {
        "by_context": by_context,
        "hidden_bits": by_context[-1][1] / math.log(2),
        "gradients": gradients(model, windows[:GRADIENT_WINDOWS], half),
    }


def opened(name: str, artifact: Model) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model in fp32 and evaluation mode, and its tokenizer."""
    kind = CLASSES.get(FAMILIES[name].learning, "AutoModelForCausalLM")  # type: ignore[index]
    folder: Path = artifact.folder(MODEL_FOLDER)
    model = getattr(transformers, kind).from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    model.train(False)
    return model, load_tokenizer(folder)


@torch.no_grad()
def _nats(model: Any, windows: Ids, half: int, length: int) -> NDArray[np.float64]:
    """Of the target of each window, foretold from so many tokens before it, [N]."""
    given_NK = torch.from_numpy(windows[:, half - length : half])
    found = [model(input_ids=part).logits[:, -1].double() for part in _parts(given_NK)]
    return _of_targets(torch.cat(found), windows[:, half])


def _parts(given: torch.Tensor) -> Sequence[torch.Tensor]:
    """Some windows at a time."""
    return torch.split(given, AT_ONCE)


def _of_targets(logits_NV: torch.Tensor, targets: Ids) -> NDArray[np.float64]:
    nats = torch.nn.functional.cross_entropy(logits_NV, torch.from_numpy(targets), reduction="none")
    return np.asarray(nats.numpy())


@torch.no_grad()
def hidden_nats(learning: str, model: Any, tokenizer: Any, windows: Ids, half: int) -> NDArray[np.float64]:
    """Of the target of each window, with what stands on both sides of it in sight, [N]."""
    given = windows.copy()
    mask = "<extra_id_0>" if learning == "span-corruption" else tokenizer.mask_token
    given[:, half] = tokenizer.convert_tokens_to_ids(mask)
    found = []
    for part, plain in zip(_parts(torch.from_numpy(given)), _parts(torch.from_numpy(windows)), strict=True):
        if learning == "masked":
            logits = model(input_ids=part).logits[:, half]
        else:
            start = torch.full((len(part), 1), model.config.decoder_start_token_id)
            before = part[:, half : half + 1] if learning == "span-corruption" else plain[:, :half]
            logits = model(input_ids=part, decoder_input_ids=torch.cat([start, before], 1)).logits[:, -1]
        found.append(logits.double())
    return _of_targets(torch.cat(found), windows[:, half])


def gradients(model: Any, windows: Ids, half: int) -> dict[str, list[tuple[int, float]]]:
    """How much the loss of a target hangs on what was read so many tokens before it: the norm of its gradient
    by that token's embedding, as a share of that by the token just before it. Of a model that was not trained
    and of this one; the geometric mean over the windows. The truncation of training is lifted."""
    config = model.config
    fresh = type(model)(config)
    fresh.train(False)
    found = {}
    for when, each in (("untrained", fresh), ("trained", model)):
        if isinstance(each, RecurrentForCausalLM):
            each.config.truncation = None
        norms = torch.stack([_gradient(each, torch.from_numpy(window), half) for window in windows])
        mean = norms.clamp(min=1e-30).log().mean(0).exp()
        share = (mean / mean[-1]).flip(0).tolist()
        found[when] = [(distance, share[distance - 1]) for distance in contexts(half)]
    return found


def _gradient(model: Any, window: torch.Tensor, half: int) -> torch.Tensor:
    """Norms by the embeddings of the tokens before the target, [half]."""
    embedded = model.get_input_embeddings()(window[None, :half]).detach().requires_grad_()
    loss = -model(inputs_embeds=embedded).logits[0, -1].log_softmax(-1)[window[half]]
    loss.backward()
    gradient: torch.Tensor = embedded.grad[0]
    norms: torch.Tensor = gradient.norm(dim=-1)
    return norms


@dataclass(frozen=True)
class Timed:
    """A member whose speed is measured by the length and the number of rows."""

    name: str
    model: Model


def time_member(work: Timed, output: ShardOutput) -> dict[str, int]:
    """Writes `<name>.json`: seconds of a step and bytes kept for its backward pass, by tokens of a row;
    tokens per second by rows at a time. Attention keeps its scores here, as it was first written down."""
    shape = shape_of(work.model.config())
    assert shape is not None
    ids = TokenIds(1024, 1, 2, 3)
    model = new_model(work.name, shape, ids, max(LENGTHS))  # type: ignore[arg-type]
    model.set_attn_implementation("sdpa" if isinstance(model, RecurrentForCausalLM) else "eager")
    by_length = [(length, *_step(model, 1, length)) for length in LENGTHS]
    by_rows = [(rows, rows * ROWS_OF / _step(model, rows, ROWS_OF)[0]) for rows in ROWS]
    found = {"by_length": by_length, "by_rows": by_rows}
    output.path(f"{work.name}.json").write_text(json.dumps(found))
    return {"timed": len(by_length) + len(by_rows)}


def _step(model: PreTrainedModel, rows: int, length: int) -> tuple[float, int]:
    """Seconds of a forward and backward pass, the best of some tries, and bytes that are kept in between."""
    tokens = torch.randint(8, 1024, (rows, length))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    call: Callable[..., Any] = model
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call(input_ids=tokens).logits.float().logsumexp(-1).sum().backward()
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        call(input_ids=tokens).logits.float().logsumexp(-1).sum().backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds), sum(size for place, size in kept.items() if place not in weights)


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Of the power of length that fits the last three points: 1 where twice the length costs twice as
    much."""
    lengths, costs = np.log(np.array(points[-3:])).T
    return float(np.polyfit(lengths, costs, 1)[0])
