"""The model before its first step: from nothing, or from a foreign model whose vocabulary may have grown.

A new piece begins as the mean of the pieces that it was written with before (Gee et al., 2022,
EMNLP industry track, "Fast Vocabulary Transfer"), read and scored. A marker, which no text has, begins as
the mean of all pieces: that takes hardly any probability from them (Hewitt, 2021, "Initializing New Word
Embeddings for Pretrained Language Models").
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.errors import InputError
from pipeline.models.architectures import new_model
from pipeline.models.families import TokenIds
from pipeline.models.foreign_model import ForeignModelError
from pipeline.tokens.take_over import opened
from pipeline.training.forward import logits
from pipeline.training.pretrain_config import PretrainConfig

NOISE = 0.01
"""Of a marker's first embedding: as a share of how far pieces lie from their mean."""
TRIED_TOKENS = 12
"""Of each of the two documents that a foreign model is tried on."""
EQUAL = 1e-3
"""Scores that differ by a smaller share of the largest are the same: sums are rounded in another order."""


class NotTrainableError(InputError):
    """A foreign model does not keep documents apart that lie in one row, so it cannot be trained on rows."""

    remedy = (
        "Take a model of a family with full attention and positions, such as LLaMA, Mistral, Qwen or GPT-2."
    )


def first_model(
    config: PretrainConfig, tokenizer: Tokenizer, row_tokens: int, start: Path | None
) -> PreTrainedModel:
    """A model for this tokenizer, on the CPU in fp32: new, or the one in the folder `start`.

    Equal seeds give equal bits. Raises ForeignModelError and NotTrainableError.
    """
    torch.manual_seed(config.seed)
    if start is not None:
        return _taken_over(start, tokenizer, config.seed)
    ids = token_ids(tokenizer)
    model = new_model(config.family, config.shape(), ids, row_tokens, config.own_positions, config.truncation)
    begin_as_identity(model)
    return model


def token_ids(tokenizer: Tokenizer) -> TokenIds:
    return TokenIds(
        vocabulary_size=len(tokenizer),
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )


def begin_as_identity(model: PreTrainedModel) -> None:
    """Zero what each layer adds to the residual stream, so that all layers start by passing it on.

    Measured at depth 4 over 400,000 tokens: held-out bits per byte 1.890 in place of 1.928.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()


def _taken_over(folder: Path, tokenizer: Tokenizer, seed: int) -> PreTrainedModel:
    """The foreign model with embeddings for all ids of the tokenizer, without dropout."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name, value in vars(config).items():
        # A text that is read once needs no dropout, and what is random could not be repeated.
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    load: Any = AutoModelForCausalLM.from_pretrained
    model, told = load(
        folder,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    lacking = sorted({*told["missing_keys"], *(str(each[0]) for each in told["mismatched_keys"])})
    if lacking:
        raise ForeignModelError(
            f"start.model: the weights have no {lacking[0]} that fits {type(model).__name__}"
            f" ({len(lacking)} such); save the whole model with save_pretrained"
        )
    model.train()
    require_borders(model)
    extend_vocabulary(model, opened(folder), tokenizer, seed)
    ids = token_ids(tokenizer)
    model.config.bos_token_id, model.config.eos_token_id = ids.bos, ids.eos
    model.config.pad_token_id = ids.pad
    made: PreTrainedModel = model
    return made


def extend_vocabulary(model: PreTrainedModel, old: Tokenizer, new: Tokenizer, seed: int) -> None:
    """Give the ids that `new` has behind those of `old` embeddings to begin with, read and scored.

    Rows beyond all ids, which some models have, stay as they are.
    """
    first, size = len(old), len(new)
    if size > _pieces(model):
        model.resize_token_embeddings(size, mean_resizing=False)
    parts = {index: _parts(new, old, index) for index in range(first, size)}
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tables: list[torch.Tensor] = [embedding.weight]
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
    if head is not None and getattr(head, "bias", None) is not None:
        tables.append(head.bias)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in tables:
            _begin(table, parts, first, random)


def _pieces(model: PreTrainedModel) -> int:
    """Rows of the embedding."""
    embedding: Any = model.get_input_embeddings()
    return int(embedding.weight.shape[0])


def _begin(table: torch.Tensor, parts: dict[int, list[int]], first: int, random: torch.Generator) -> None:
    """Fill the rows of new ids: the mean of their parts, or of all old rows with a little noise."""
    known = table[:first]
    mean, spread = known.mean(0), known.std(0)
    for index, pieces in parts.items():
        if pieces:
            table[index] = known[pieces].mean(0)
        else:
            table[index] = mean + NOISE * spread * torch.randn(mean.shape, generator=random)


def _parts(new: Tokenizer, old: Tokenizer, index: int) -> list[int]:
    """The old ids that the text of a new piece was cut into; none for a marker."""
    if index in new.added_tokens_decoder:
        return []
    name: Any = new.convert_ids_to_tokens(index)
    backend: Any = old.backend_tokenizer
    return [token.id for token in backend.model.tokenize(name)]


def require_borders(model: PreTrainedModel) -> None:
    """Try a row of two documents: the second must not see the first, and must get the scores that it gets
    alone. Raises NotTrainableError."""
    name, pieces = type(model).__name__, _pieces(model)
    random, T = torch.Generator().manual_seed(0), TRIED_TOKENS
    tokens_2T = torch.randint(pieces, (2, 2 * T), generator=random)
    tokens_2T[1, T:] = tokens_2T[0, T:]
    documents = torch.arange(2).repeat_interleave(T).expand(2, -1)
    positions = torch.arange(T).repeat(2).expand(2, -1)
    model.train(False)
    try:
        with torch.no_grad():
            one, other = logits(model, tokens_2T, documents, positions)[:, T:]
            alone = model(input_ids=tokens_2T[:1, T:], use_cache=False).logits[0]
    except Exception as error:  # whatever a family's code makes of a mask and positions of ours
        raise NotTrainableError(
            f"start.model: {name} does not take the mask that keeps documents of a row apart, or their "
            f"positions ({type(error).__name__}: {str(error).strip().splitlines()[0]}); take a model of "
            "another family"
        ) from error
    finally:
        model.train()
    near = EQUAL * float(alone.abs().max())
    if float((one - other).abs().max()) > near:
        raise NotTrainableError(
            f"start.model: in {name} the second document of a row sees the first although a mask forbids it "
            "(as in recurrent models, in those of linear attention, and where transformers has eager "
            "attention alone); take a model of another family"
        )
    if float((one - alone).abs().max()) > near:
        raise NotTrainableError(
            f"start.model: in {name} a document gets other scores behind another one than alone: it does not "
            "follow the positions that it is given; take a model of another family"
        )
