"""The losses of families that do not continue text: of masked tokens, and of what a decoder writes.

B rows, T tokens, D tokens of the decoder, W width, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from pipeline.models.families import FAMILIES, FamilyName
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.forward import LossFunction, autocast, document_mask, loss_function


def family_loss(
    family: FamilyName,
    model: nn.Module,
    products: str,
    device: torch.device,
    attention: str = "dense",
    fused: bool = False,
) -> LossFunction:
    """The loss of a micro-batch, as `loss_function` has it, by what the family learns."""
    learning = FAMILIES[family].learning
    if learning == "next-token":
        return loss_function(model, products, device, attention, fused)

    def masked(
        tokens_BT: torch.Tensor,
        documents_BT: torch.Tensor,
        positions_BT: torch.Tensor,
        labels_BT: torch.Tensor,
        *pairs: torch.Tensor,
    ) -> torch.Tensor:
        with autocast(products, device):
            if not pairs:
                return _sum(masked_logits(model, tokens_BT, documents_BT, positions_BT), labels_BT)
            segments_BT, follows_BT = pairs
            both = sentence_pair_logits(model, tokens_BT, documents_BT, positions_BT, segments_BT)
        told = _sum(both[0], labels_BT)
        return told + _following(both[1], follows_BT, labels_BT, documents_BT)

    def written(
        tokens_BT: torch.Tensor,
        documents_BT: torch.Tensor,
        positions_BT: torch.Tensor,
        labels_BD: torch.Tensor,
        *decoder: torch.Tensor,
    ) -> torch.Tensor:
        with autocast(products, device):
            logits_BDV = written_logits(model, tokens_BT, documents_BT, positions_BT, *decoder)
        return _sum(logits_BDV, labels_BD)

    return masked if learning == "masked" else written


def _sum(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(
        logits_BTV.float().flatten(0, 1), labels_BT.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )


def both_sides_mask(documents_BT: torch.Tensor) -> torch.Tensor:
    """True where a token may look: at every token of the same document. [B, 1, T, T]."""
    return (documents_BT[:, :, None] == documents_BT[:, None, :])[:, None]


def read_mask(decoder_documents_BD: torch.Tensor, documents_BT: torch.Tensor) -> torch.Tensor:
    """True where a token that is written may look at one that was read: at those of its own document.
    Padding looks at everything, so that no row of the mask is empty. [B, 1, D, T]."""
    same_BDT = decoder_documents_BD[:, :, None] == documents_BT[:, None, :]
    return (same_BDT | (decoder_documents_BD < 0)[:, :, None])[:, None]


def masked_logits(
    model: Any, tokens_BT: torch.Tensor, documents_BT: torch.Tensor, positions_BT: torch.Tensor
) -> torch.Tensor:
    """Scores of what stands at each place, [B, T, V]."""
    found: torch.Tensor = model(
        input_ids=tokens_BT,
        attention_mask=both_sides_mask(documents_BT),
        position_ids=_places(model, positions_BT),
    ).logits
    return found


def sentence_pair_logits(
    model: Any,
    tokens_BT: torch.Tensor,
    documents_BT: torch.Tensor,
    positions_BT: torch.Tensor,
    segments_BT: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of a BERT with its two heads, and [B, T, 2]: as seen from each token, what the head of next
    sentences says (0 is 'follows'). transformers asks a row's first token alone; here each document has
    one."""
    hidden_BTW = model.bert(
        input_ids=tokens_BT,
        attention_mask=both_sides_mask(documents_BT),
        position_ids=_places(model, positions_BT),
        token_type_ids=segments_BT,
    ).last_hidden_state
    pooler = model.bert.pooler
    pooled_BTW = pooler.activation(pooler.dense(hidden_BTW))
    return model.cls.predictions(hidden_BTW), model.cls.seq_relationship(pooled_BTW)


def _following(
    logits_BT2: torch.Tensor, follows_BT: torch.Tensor, labels_BT: torch.Tensor, documents_BT: torch.Tensor
) -> torch.Tensor:
    """The loss of next sentences, of each document as much as it has hidden tokens.

    BERT adds the mean over hidden tokens and the mean over pairs. This comes to the same for one document,
    and for many no pair's weight hangs on what else is in its batch.
    """
    wanted_BT = torch.where(follows_BT == NO_LABEL, NO_LABEL, 1 - follows_BT)
    each_BT = F.cross_entropy(
        logits_BT2.float().flatten(0, 1), wanted_BT.flatten(), ignore_index=NO_LABEL, reduction="none"
    ).view_as(follows_BT)
    hidden_BT = (labels_BT != NO_LABEL).float()
    same_BTT = (documents_BT[:, :, None] == documents_BT[:, None, :]).float()
    return (each_BT * (same_BTT @ hidden_BT[:, :, None])[:, :, 0]).sum()


def written_logits(
    model: Any,
    tokens_BT: torch.Tensor,
    documents_BT: torch.Tensor,
    positions_BT: torch.Tensor,
    decoder_tokens_BD: torch.Tensor,
    decoder_documents_BD: torch.Tensor,
    decoder_positions_BD: torch.Tensor,
) -> torch.Tensor:
    """Scores of what the decoder writes next, [B, D, V]."""
    encoder, decoder = model.get_encoder(), model.get_decoder()
    read = encoder(
        **_given(encoder, tokens_BT, positions_BT), attention_mask=both_sides_mask(documents_BT)
    ).last_hidden_state
    given = _given(decoder, decoder_tokens_BD, decoder_positions_BD)
    found: torch.Tensor = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=read),
        attention_mask=read_mask(decoder_documents_BD, documents_BT),
        decoder_attention_mask=document_mask(decoder_documents_BD),
        **{f"decoder_{name}": value for name, value in given.items()},
        use_cache=False,
    ).logits
    return found


def _given(stack: Any, tokens_BT: torch.Tensor, positions_BT: torch.Tensor) -> dict[str, torch.Tensor]:
    """Tokens, and where they stand in their documents.

    T5 goes by distances, which are the same in a row of several documents. BART adds a vector for the
    column, and takes no places from outside: so its embeddings come with the difference to the right ones.
    """
    table = getattr(stack, "embed_positions", None)
    if table is None:
        return {"input_ids": tokens_BT}
    columns_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    right, wrong = (table.weight[places + table.offset] for places in (positions_BT.long(), columns_T))
    return {"inputs_embeds": stack.embed_tokens(tokens_BT) + (right - wrong)}


def _places(model: Any, positions_BT: torch.Tensor) -> torch.Tensor:
    """RoBERTa's places count from the one behind the padding's id on."""
    first = model.config.pad_token_id + 1 if model.config.model_type == "roberta" else 0
    return positions_BT.long() + first
