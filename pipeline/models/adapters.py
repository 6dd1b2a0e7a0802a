"""Adapters kept apart: small matrices that belong beside a base model's own (LoRA, Hu et al., 2021,
arXiv:2106.09685), so that many fine-tunings share one base.

An adapter is good for the base that it was learned on and for no other, even of the same shape. So it
names its base, and repeats the hashes of its weights and of its vocabulary; both are compared before use.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.models.model import MODEL_FOLDER, Model
from pipeline.store import File, Storage
from pipeline.store.records import Frozen
from pipeline.store.storage import cache_folder

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_FOLDER = "adapter"
BASE, CONFIG, WEIGHTS = "base.json", "adapter_config.json", "adapter_model.safetensors"


class AdapterBaseError(InputError):
    """An adapter is to be put on another base model than the one that it was learned on, or its matrices are
    no safetensors."""

    remedy = "Open the adapter, saved as safetensors, on its own base, or fine-tune one on this base."


class AdapterVocabularyError(InputError):
    """An adapter was learned with another vocabulary than that of the base it is to be put on."""

    remedy = "Open the adapter on its own base, with the tokenizer that it was learned with."


class Base(Frozen):
    """The base model of an adapter."""

    artifact: str
    """`stage/key` in the same store."""
    weights: str
    """SHA-256 over the hashes of its files of weights."""
    vocabulary: str
    """SHA-256 over its tokenizer's pieces and their ids."""
    pieces: int
    """How many pieces that tokenizer has."""


def base_of(model: Model, tokenizer: "PreTrainedTokenizerBase") -> Base:
    """What an adapter that is learned on this model has to remember of it."""
    return Base(
        artifact=model.base,
        weights=weights_identity(model),
        vocabulary=vocabulary_identity(tokenizer),
        pieces=len(tokenizer),
    )


def weights_identity(model: Model) -> str:
    """Of the files of weights in the model's record, and of its own base if it is an adapter."""
    files: Mapping[str, File] = model.record.files
    hashes = [(name, file.sha256) for name, file in files.items() if name.endswith(".safetensors")]
    below = model.adapter_base()
    if below is not None:
        hashes.append((BASE, weights_identity(below)))
    return _identity(f"{name}\0{sha256}" for name, sha256 in hashes)


def vocabulary_identity(tokenizer: "PreTrainedTokenizerBase") -> str:
    return _identity(f"{piece}\0{index}" for piece, index in tokenizer.get_vocab().items())


def _identity(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def read_base(folder: Path) -> Base | None:
    """What the adapter says of its base; None of one that was made elsewhere. Raises AdapterBaseError."""
    path = folder / BASE
    if not path.is_file():
        return None
    try:
        return Base.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise AdapterBaseError(
            f"{path} does not say what the adapter's base is ({error}); fetch it again"
        ) from error


def write_adapter(model: "PeftModel", base: Base, folder: Path) -> None:
    """The adapter alone: its matrices, how they are put on, and the base that they are for."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = base.artifact
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    written: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
    # a set, in an order that hangs on the process
    written["target_modules"] = sorted(written["target_modules"])
    (folder / CONFIG).write_text(json.dumps(written, indent=1, sort_keys=True))
    (folder / BASE).write_text(base.model_dump_json(indent=1))


def load_adapters(
    base: Model, adapters: Mapping[str, Model | Path], dtype: "torch.dtype | None" = None
) -> "tuple[PeftModel, PreTrainedTokenizerBase]":
    """The base model once, with every adapter under its name; `set_adapter(name)` on it chooses.

    An adapter is an artifact, or a folder as peft writes it. The first is chosen at the beginning.
    Raises AdapterBaseError, AdapterVocabularyError.
    """
    model, tokenizer = base.load(dtype)
    folders = {
        name: adapter if isinstance(adapter, Path) else adapter.folder(ADAPTER_FOLDER)
        for name, adapter in adapters.items()
    }
    for folder in folders.values():
        check_base(folder, base, model, tokenizer)
    return put_on(model, folders), tokenizer


def put_on(model: "PreTrainedModel", folders: Mapping[str, Path]) -> "PeftModel":
    """The model with these adapters, which were checked before. Raises AdapterBaseError.

    Only safetensors are read: where there is none, peft would open a pickle, or ask the hub.
    """
    from peft import PeftModel

    for folder in folders.values():
        _require_weights(folder)
    (first, folder), *others = folders.items()
    adapted = PeftModel.from_pretrained(
        model, str(folder), adapter_name=first, torch_device=str(model.device)
    )
    for name, folder in others:
        adapted.load_adapter(str(folder), adapter_name=name, torch_device=str(model.device))
    adapted.train(False)
    return adapted


def check_base(
    folder: Path, base: Model, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Raises AdapterVocabularyError or AdapterBaseError if the adapter in `folder` is for another base."""
    learned_on = read_base(folder)
    if learned_on is None:
        return _check_shapes(folder, base, model)
    if learned_on.vocabulary != vocabulary_identity(tokenizer):
        raise AdapterVocabularyError(
            f"the adapter {folder} was learned on {learned_on.artifact} with a vocabulary of "
            f"{learned_on.pieces} pieces; {base.base} has another one of {len(tokenizer)}: open it on "
            f"{learned_on.artifact}"
        )
    if learned_on.weights != weights_identity(base):
        raise AdapterBaseError(
            f"the adapter {folder} was learned on {learned_on.artifact}, and the weights of {base.base} are "
            f"others: open it on {learned_on.artifact}, or fine-tune one on {base.base}"
        )


def _require_weights(folder: Path) -> None:
    if not (folder / WEIGHTS).is_file():
        raise AdapterBaseError(
            f"the adapter {folder} has no {WEIGHTS}, and its matrices are read from no other file; save it "
            "again with save_pretrained, whose default that is"
        )


def _check_shapes(folder: Path, base: Model, model: "PreTrainedModel") -> None:
    """Of an adapter that was made elsewhere: its matrices have to fit, more cannot be known."""
    from safetensors import safe_open

    _require_weights(folder)
    modules = dict(model.named_modules())
    with safe_open(folder / WEIGHTS, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - no mapping
            path, _, kind = name.removeprefix("base_model.model.").partition(".lora_")
            if kind not in ("A.weight", "B.weight"):
                continue
            weight = getattr(modules.get(path), "weight", None)
            if weight is None:
                raise AdapterBaseError(
                    f"the adapter {folder} changes {path}, and {base.base} has no such matrix; open it on "
                    "the model that it was learned on"
                )
            size = tensors.get_slice(name).get_shape()[1 if kind.startswith("A") else 0]
            if size not in weight.shape:
                raise AdapterBaseError(
                    f"the adapter {folder} is for {path} with a side of {size}, in {base.base} it is "
                    f"{tuple(weight.shape)}; open it on the model that it was learned on"
                )


def load_merged(
    model: Model, dtype: "torch.dtype | None"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A model whose adapter is kept apart, as one plain model: added up in fp32, then in `dtype` (default:
    as the base is stored). Raises AdapterBaseError, AdapterVocabularyError."""
    import torch

    base = model.adapter_base()
    assert base is not None
    plain, tokenizer = base.load(None)
    wanted = dtype or plain.dtype
    folder = model.folder(ADAPTER_FOLDER)
    check_base(folder, base, plain, tokenizer)
    beside = put_on(torch.nn.Module.to(plain, torch.float32), {"default": folder})
    merged: PreTrainedModel = beside.merge_and_unload()
    return torch.nn.Module.to(merged, wanted), tokenizer


def merged_folder(model: Model) -> Path:
    """A local folder with that plain model, for what reads folders alone; made once, in the cache."""
    from pipeline.models.saving import save_language_model

    target = cache_folder() / "merged" / model.record.digest / MODEL_FOLDER
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        merged, tokenizer = load_merged(model, None)
        part = Path(tempfile.mkdtemp(dir=target.parent))
        save_language_model(merged, tokenizer, model, part)
        try:
            os.replace(part, target)
        except OSError:  # another process was faster
            if not target.exists():
                raise
    return target


def base_of_adapter(storage: Storage, folder: Path) -> Model:
    """The artifact that an adapter in this store was learned on. Raises AdapterBaseError."""
    learned_on = read_base(folder)
    if learned_on is None:
        raise AdapterBaseError(f"{folder} has no {BASE}, so its base is not known; name the base beside it")
    stage, _, key = learned_on.artifact.partition("/")
    found: Model = type("RecordedBase", (Model,), {"stage": stage, "role": "base"})(storage, key)
    if not found.exists():
        raise AdapterBaseError(
            f"the adapter {folder} was learned on {learned_on.artifact}, which is not in the store "
            f"{storage.root}: make it again, it is the same key"
        )
    return found
