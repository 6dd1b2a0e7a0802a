"""Tiny models of several families with random weights, as their makers would leave them in a folder."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

CONTEXT_TOKENS = 64
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT_TOKENS,
    "initializer_range": 0.2,
}
"""Weights large enough that scores differ from token to token."""
SHARED = {"num_key_value_heads": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SMALL | SHARED,
    "mistral": SMALL | SHARED | {"sliding_window": CONTEXT_TOKENS},
    "qwen2": SMALL | SHARED | {"tie_word_embeddings": True},
    "qwen3": SMALL | SHARED | {"head_dim": 16},
    "gpt_neox": SMALL,
    "gpt2": {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": CONTEXT_TOKENS,
        "initializer_range": 0.2,
    },
}
REFUSED: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
}


def random_model(kind: str, pieces: int, **values: Any) -> PreTrainedModel:
    """With so many rows in the embeddings; the same each time."""
    torch.manual_seed(5)
    given = (FAMILIES | REFUSED)[kind] | values
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, vocab_size=pieces, **given)
    )
    return model


def foreign_folder(
    folder: Path, kind: str, tokenizer: Path, pieces: int | None = None, **values: Any
) -> Path:
    """A random model of the family `kind`, saved with the tokenizer of the folder `tokenizer`."""
    made = AutoTokenizer.from_pretrained(tokenizer)
    model = random_model(kind, pieces or len(made), **values)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
