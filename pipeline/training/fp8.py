"""Matrix products in 8 bits, on GPUs that have them (torchao; Micikevicius et al., 2022,
arXiv:2209.05433)."""

import dataclasses
import importlib.util

import torch
from torch import nn
from transformers import PreTrainedModel

from pipeline.training.resolve import FP8_CAPABILITY

MULTIPLE = 16
"""What the sizes of a product in 8 bits have to be multiples of."""


def fault(device: torch.device, row_tokens: int) -> str | None:
    """Why fp8 cannot be used here, in words, or None."""
    if importlib.util.find_spec("torchao") is None:
        return "torchao is not installed"
    if device.type != "cuda":
        return "there is no GPU"
    found = torch.cuda.get_device_capability(device)
    if found < FP8_CAPABILITY:
        has, needs = (".".join(map(str, version)) for version in (found, FP8_CAPABILITY))
        name = torch.cuda.get_device_name(device)
        return f"{name} has compute capability {has}, and fp8 needs {needs}"
    if row_tokens % MULTIPLE:
        return f"rows have {row_tokens} tokens, which is no multiple of {MULTIPLE}"
    return None


def convert(model: PreTrainedModel, *, emulated: bool = False) -> list[str]:
    """Let the layers' matrices be multiplied in 8 bits, each tensor with a scale of its own; their names.

    The head is left as it is, and what has a size that is no multiple of 16. Weights stay fp32 and keep
    their names. `emulated`: the same rounding by ordinary products, on any device.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    converted, head = [], model.get_output_embeddings()  # type: ignore[no-untyped-call]

    def wanted(module: nn.Module, name: str) -> bool:
        fits = isinstance(module, nn.Linear) and not (
            module.in_features % MULTIPLE or module.out_features % MULTIPLE
        )
        if fits and module is not head:
            converted.append(name)
        return fits and module is not head

    recipe = Float8LinearConfig.from_recipe_name("tensorwise")
    config = dataclasses.replace(recipe, emulate=emulated)
    convert_to_float8_training(model, module_filter_fn=wanted, config=config)
    return converted
