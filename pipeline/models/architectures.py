"""A new model of each family, as transformers' own class built from a configuration; recurrent ones are ours.

Dropout is left out everywhere: a text that is read once needs none.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from pipeline.models.families import FAMILIES, FamilyName, Positions, Shape, TokenIds
from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM

ROPE_THETA = 10_000.0
INITIALIZER_RANGE = 0.02
POSITION_TABLES = ("wpe", "position_embeddings", "embed_positions")
"""What modules are called that have a vector for each place."""

Build = Callable[[Shape, TokenIds, int], PreTrainedConfig]


def new_model(
    family: FamilyName,
    shape: Shape,
    tokens: TokenIds,
    row_tokens: int,
    positions: Positions | None = None,
    truncation: int | None = None,
) -> PreTrainedModel:
    """With random weights, on the CPU in fp32. `row_tokens` is its context; `positions` by default the
    family's own; `truncation`, of recurrent families, is after how many tokens gradients end."""
    if FAMILIES[family].is_recurrent:
        return RecurrentForCausalLM(
            RecurrentConfig(
                cell=family,
                hidden_size=shape.width,
                num_hidden_layers=shape.depth,
                max_position_embeddings=row_tokens,
                truncation=truncation,
                tie_word_embeddings=shape.tied_embeddings,
                **_ids(tokens),
            )
        )
    kind, build = CLASSES[family]
    if family == "llama" and positions == "none":
        kind, build = "SmolLM3ForCausalLM", _without_rotation
    model: PreTrainedModel = getattr(transformers, kind)(build(shape, tokens, row_tokens))
    for table in _position_tables(model):
        if positions in ("sinusoidal", "none"):
            _keep_fixed(table, positions)
    return model


def _position_tables(model: PreTrainedModel) -> list[nn.Embedding]:
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith(POSITION_TABLES)
    ]


def _keep_fixed(table: nn.Embedding, positions: Positions) -> None:
    """Sinusoids (Vaswani et al., 2017, arXiv:1706.03762, section 3.5), as large as learned vectors begin, or
    zeros: nothing that is trained. Saved with the model, so transformers needs to know nothing of it."""
    places, width = table.weight.shape
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(places)[:, None] * rates
    sinusoids = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
    with torch.no_grad():
        table.weight.copy_(sinusoids * (INITIALIZER_RANGE * math.sqrt(2)))
        if positions == "none":
            table.weight.zero_()
    table.weight.requires_grad_(False)


def _ids(tokens: TokenIds) -> dict[str, Any]:
    return {
        "vocab_size": tokens.vocabulary_size,
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
    }


def _like_llama(shape: Shape, tokens: TokenIds, row_tokens: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "max_position_embeddings": row_tokens,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "initializer_range": INITIALIZER_RANGE,
        "tie_word_embeddings": shape.tied_embeddings,
        "attention_dropout": 0.0,
        **_ids(tokens),
        **more,
    }


def llama_config(shape: Shape, tokens: TokenIds, row_tokens: int) -> transformers.LlamaConfig:
    return transformers.LlamaConfig(**_like_llama(shape, tokens, row_tokens))


def _without_rotation(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    """A LLaMA that is told no places (Kazemnejad et al., 2023, arXiv:2305.19466), by the class that has a
    setting for it."""
    given = _like_llama(shape, tokens, row_tokens, no_rope_layers=[0] * shape.depth)
    return transformers.SmolLM3Config(**given)


def _mistral(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    """Its window is the context: rows are trained whole."""
    given = _like_llama(shape, tokens, row_tokens, sliding_window=row_tokens, head_dim=shape.head_width)
    return transformers.MistralConfig(**given)


def _qwen(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    return transformers.Qwen3Config(**_like_llama(shape, tokens, row_tokens, head_dim=shape.head_width))


def _falcon(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    """Attention and feed-forward side by side; heads of keys and values by the newer way of writing them."""
    given = _like_llama(shape, tokens, row_tokens, new_decoder_architecture=True)
    given["ffn_hidden_size"], given["num_kv_heads"] = given.pop("intermediate_size"), shape.key_value_heads
    del given["num_key_value_heads"]
    return transformers.FalconConfig(**given)


def _gpt2(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    return transformers.GPT2Config(
        n_embd=shape.width,
        n_inner=shape.mlp_width,
        n_layer=shape.depth,
        n_head=shape.heads,
        n_positions=row_tokens,
        initializer_range=INITIALIZER_RANGE,
        tie_word_embeddings=shape.tied_embeddings,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        **_ids(tokens),
    )


def _like_bert(shape: Shape, tokens: TokenIds, places: int) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": places,
        "initializer_range": INITIALIZER_RANGE,
        "tie_word_embeddings": shape.tied_embeddings,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **_ids(tokens),
    }


def _bert(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    return transformers.BertConfig(**_like_bert(shape, tokens, row_tokens))


def _roberta(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    """Its places are counted from the one behind the padding's id on."""
    given = _like_bert(shape, tokens, row_tokens + tokens.pad + 1)
    return transformers.RobertaConfig(**given, type_vocab_size=1)


def _t5(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    kind: Any = transformers.T5Config  # takes more than its signature says
    config: PreTrainedConfig = kind(
        d_model=shape.width,
        d_kv=shape.head_width,
        d_ff=shape.mlp_width,
        num_layers=shape.depth,
        num_decoder_layers=shape.depth,
        num_heads=shape.heads,
        dropout_rate=0.0,
        decoder_start_token_id=tokens.pad,
        n_positions=row_tokens,
        tie_word_embeddings=shape.tied_embeddings,
        **_ids(tokens),
    )
    return config


def _bart(shape: Shape, tokens: TokenIds, row_tokens: int) -> PreTrainedConfig:
    return transformers.BartConfig(
        d_model=shape.width,
        encoder_layers=shape.depth,
        decoder_layers=shape.depth,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.mlp_width,
        decoder_ffn_dim=shape.mlp_width,
        max_position_embeddings=row_tokens,
        init_std=INITIALIZER_RANGE,
        dropout=0.0,
        attention_dropout=0.0,
        decoder_start_token_id=tokens.eos,
        forced_eos_token_id=None,
        tie_word_embeddings=shape.tied_embeddings,
        **_ids(tokens),
    )


CLASSES: Mapping[FamilyName, tuple[str, Build]] = {
    "llama": ("LlamaForCausalLM", llama_config),
    "mistral": ("MistralForCausalLM", _mistral),
    "qwen": ("Qwen3ForCausalLM", _qwen),
    "falcon": ("FalconForCausalLM", _falcon),
    "gpt2": ("GPT2LMHeadModel", _gpt2),
    "bert": ("BertForPreTraining", _bert),
    "roberta": ("RobertaForMaskedLM", _roberta),
    "t5": ("T5ForConditionalGeneration", _t5),
    "bart": ("BartForConditionalGeneration", _bart),
}
"""transformers' class, and what it is built from."""
