"""A model that was made elsewhere, as transformers keeps it in a folder: its files, and what it looks like.

Weights are never loaded here: a safetensors file begins with a table of its tensors, and that is all that
is read. So what cannot be used is refused before anything is started, and plans need no torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.models.families import Shape

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "consolidated*.pth", "tf_model.h5")
ADAPTER = "adapter_config.json"
HEADER_LIMIT_BYTES = 100_000_000
"""Of a safetensors file's table, as the format has it."""
LENGTH_BYTES = 8


class ForeignModelError(InputError):
    """What `start.model` names is no model that training can go on from."""

    remedy = (
        "Name a folder with config.json, safetensors and tokenizer.json, as `save_pretrained` of a "
        "causal language model and of its tokenizer writes them, or a model on the hub with its commit."
    )


@dataclass(frozen=True)
class ForeignModel:
    """What is known of a foreign model without loading it."""

    kind: str
    """transformers' name of the family, such as llama or gpt2."""
    shape: Shape
    pieces: int
    """Rows of the embedding: at least as many as its tokenizer has ids."""
    parameters: int
    """Weights, tied ones once."""
    context_tokens: int | None
    """Longest row that its positions allow; None if there is no limit."""
    window_tokens: int | None = None
    """How far back its attention looks, if that is less."""
    bytes: int = 0
    """Of its weights' files."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Configuration and weights, by name."""

    def parameters_with(self, pieces: int) -> int:
        """Weights with so many rows in the embeddings, if these are more than it has."""
        more = max(0, pieces - self.pieces)
        return self.parameters + more * self.shape.width * (1 if self.shape.tied_embeddings else 2)

    def longest_row(self) -> float:
        """Tokens of the longest row that it sees as it did when it was made."""
        return min(self.context_tokens or math.inf, self.window_tokens or math.inf)

    def as_counts(self) -> dict[str, int]:
        """For the record of the stage that takes it over."""
        return {"parameters": self.parameters, "pieces": self.pieces} | (
            {} if self.context_tokens is None else {"context_tokens": self.context_tokens}
        )


def read_model(folder: Path) -> ForeignModel:
    """The model in a local folder. Raises ForeignModelError with what is missing or cannot be used."""
    files = model_files(folder)
    tensors: dict[str, list[int]] = {}
    for name, path in files.items():
        if name.endswith(".safetensors"):
            tensors |= _tensors(path)
    config = _configuration(folder)
    pieces = int(config.vocab_size)
    shape = _shape(folder, config, tensors)
    head = "lm_head.weight" in tensors and shape.tied_embeddings
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return ForeignModel(
        kind=str(config.model_type),
        shape=shape,
        pieces=pieces,
        parameters=sum(math.prod(sizes) for sizes in tensors.values()) - head * pieces * shape.width,
        context_tokens=getattr(config, "max_position_embeddings", None),
        window_tokens=window,
        bytes=sum(path.stat().st_size for name, path in files.items() if name.endswith(".safetensors")),
        files=files,
    )


def model_files(folder: Path) -> dict[str, Path]:
    """config.json, the weights and their index by name. Raises ForeignModelError."""
    if (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file():
        raise ForeignModelError(
            f"start.model: {folder} holds an adapter ({ADAPTER}), not a model; merge it into its base with "
            "peft's merge_and_unload(), save that with save_pretrained, and name its folder"
        )
    if not (folder / CONFIG).is_file():
        raise ForeignModelError(
            f"start.model: {folder} has no {CONFIG}; name a folder as save_pretrained of a transformers "
            "model writes it"
        )
    found = {CONFIG: folder / CONFIG}
    if (folder / INDEX).is_file():
        found[INDEX] = folder / INDEX
        found |= {name: folder / name for name in _parts(folder / INDEX)}
    elif (folder / WEIGHTS).is_file():
        found[WEIGHTS] = folder / WEIGHTS
    else:
        raise _no_weights(folder)
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing:
        raise ForeignModelError(
            f"start.model: {folder} lacks {', '.join(missing[:3])}{' …' if missing[3:] else ''}, which "
            f"{INDEX} names: {len(missing)} of {len(found) - 2} files of weights; copy or fetch the rest"
        )
    return found


def _parts(index: Path) -> list[str]:
    """The files of weights that an index names. Raises ForeignModelError."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ForeignModelError(
            f"start.model: {index} cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error
    outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if outside:
        raise ForeignModelError(
            f"start.model: {index} names {outside[0]!r}, which is no safetensors file beside it; "
            "save the model with save_pretrained"
        )
    return names


def _no_weights(folder: Path) -> ForeignModelError:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not pickles:
        return ForeignModelError(
            f"start.model: {folder} has no weights: neither {WEIGHTS} nor {INDEX} is there; "
            "name a folder as save_pretrained writes it"
        )
    return ForeignModelError(
        f"start.model: {folder} has its weights as {pickles[0]} alone, a pickle, which can run any code when "
        "it is opened, so it is not opened here; take a revision with safetensors, or convert it where you "
        "trust it: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER), and the tokenizer "
        "likewise"
    )


def _tensors(path: Path) -> dict[str, list[int]]:
    """Name → sizes of each tensor of a safetensors file. Raises ForeignModelError if it is cut or damaged."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 0 < length <= HEADER_LIMIT_BYTES:
                raise ValueError(f"a table of {length:,} bytes")
            table = json.loads(file.read(length))
        table.pop("__metadata__", None)
        ends = max((each["data_offsets"][1] for each in table.values()), default=0)
        expected, found = LENGTH_BYTES + length + ends, path.stat().st_size
        if found != expected:
            raise ValueError(f"{found:,} bytes in place of {expected:,}")
        return {name: [int(size) for size in each["shape"]] for name, each in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ForeignModelError(
            f"start.model: {path} is no whole safetensors file ({error}); fetch or save it again"
        ) from error


def _configuration(folder: Path) -> Any:
    """As transformers reads it, with the defaults of its family. Raises ForeignModelError."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    path = folder / CONFIG
    try:
        own = json.loads(path.read_bytes())
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever a family's checks lead to
        remote = "; its own code is not run here" if _names_code(path) else ""
        raise ForeignModelError(
            f"start.model: transformers does not read {path} ({str(error).strip().splitlines()[0]}){remote}; "
            "take a model of a family that the installed transformers has"
        ) from error
    named = [str(each) for each in own.get("architectures") or []]
    able = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if able is None or (named and able not in named):
        raise ForeignModelError(
            f"start.model: {path} is of {', '.join(named) or config.model_type}, which does not foretell the "
            f"next token; take a causal language model{f' ({able})' if able else ''}"
        )
    if own.get("quantization_config"):
        raise ForeignModelError(
            f"start.model: the weights of {folder} are quantized, and cannot be trained on; take the model "
            "as it was before"
        )
    return config


def _names_code(path: Path) -> bool:
    try:
        return "auto_map" in json.loads(path.read_bytes())
    except (ValueError, OSError, TypeError):
        return False


def _shape(folder: Path, config: Any, tensors: Mapping[str, list[int]]) -> Shape:
    """By the configuration's names that all families share, and by what tensors there are."""
    try:
        width, heads = int(config.hidden_size), int(config.num_attention_heads)
        depth = int(config.num_hidden_layers)
    except (AttributeError, TypeError) as error:
        raise ForeignModelError(
            f"start.model: {folder / CONFIG} ({config.model_type}) does not say how wide and deep the model "
            f"is ({error}); take a decoder with attention, such as a LLaMA, Mistral, Qwen or GPT-2"
        ) from error
    positions = [
        sizes for name, sizes in tensors.items() if name.endswith(("wpe.weight", "embed_positions.weight"))
    ]
    own_head = getattr(config, "head_dim", None)
    mlp_width = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    return Shape(
        depth=depth,
        width=width,
        heads=heads,
        key_value_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        mlp_width=int(mlp_width),
        tied_embeddings=bool(getattr(config, "tie_word_embeddings", True)),
        gated=any("gate" in name for name in tensors),
        biases=any(name.endswith(".bias") and "norm" not in name and "ln_" not in name for name in tensors),
        learned_positions=positions[0][0] if positions else 0,
        own_head_width=int(own_head) if own_head and own_head * heads != width else None,
    )


def as_settings(shape: Shape) -> dict[str, Any]:
    """The shape as a resolved configuration has it, for `shape_of`; what is usual is left out."""
    usual = {"gated": True, "biases": False, "learned_positions": 0, "own_head_width": None}
    return {name: value for name, value in asdict(shape).items() if usual.get(name, "") != value}
