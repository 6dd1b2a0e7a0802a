"""Watching a model learn: its loss on held-out rows, and fixed prompts that it completes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.objectives.batches import EVALUATION, NEXT_TOKEN, Objective
from pipeline.tokens.rows import NO_LABEL, Rows
from pipeline.training.forward import LossFunction, to_device
from pipeline.training.layout import Layout
from pipeline.training.pretrain import COMPLETION_TOKENS

TOP_K = 50
TEMPERATURE = 0.8


@dataclass(frozen=True)
class HeldOut:
    """A fixed sample of held-out rows, spread evenly over all of them."""

    rows: Rows
    tokens_per_byte: float
    """Labels per UTF-8 byte of the held-out documents."""
    limit: int
    objective: Objective = NEXT_TOKEN

    def loss(self, loss_of: LossFunction, micro_batch_rows: int, layout: Layout) -> float:
        """Mean negative log-likelihood per label, in nats; every rank scores its share."""
        chosen = np.unique(np.linspace(0, len(self.rows) - 1, min(self.limit, len(self.rows))).astype(int))
        mine = np.array_split(chosen, layout.data_size)[layout.data_rank]
        total = torch.zeros(2, dtype=torch.float64, device=layout.group.device)
        for number in range(layout.passes(len(chosen), micro_batch_rows)):
            numbers = mine[number * micro_batch_rows : (number + 1) * micro_batch_rows]
            batch = self.objective(self.rows, numbers, EVALUATION)
            if not len(batch.tokens_BT) and not layout.is_cut:
                break
            part = to_device(batch, max(1, len(batch.tokens_BT)), self.rows.pad, layout.group.device)
            with torch.no_grad():
                total[0] += loss_of(*part.given).double()
            total[1] += int((batch.labels_BT != NO_LABEL).sum())
        loss, labels = layout.group.sum(total).tolist()
        return float(loss / labels)

    def bits_per_byte(self, loss: float) -> float:
        """The loss in bits over the bytes that its tokens stand for (first tokens of pieces, which have
        no label, count as if they cost the mean)."""
        return loss / math.log(2) * self.tokens_per_byte


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    seed: int,
    layout: Layout,
) -> str:
    """Every prompt with a sampled continuation, as Markdown. Leaves all random generators as they were.

    Where the model is cut every rank has to call this, and all go on until the last has ended.
    """
    devices = [model.device] if model.device.type == "cuda" else []
    generate: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]
    parts = []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        for prompt in prompts:
            torch.manual_seed(seed)
            ids = [tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]
            given = torch.tensor([ids], device=model.device)
            room = model.config.max_position_embeddings - len(ids)
            output = generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=max(1, min(COMPLETION_TOKENS, room)),
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=TOP_K,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                synced_gpus=layout.is_cut,
            )
            continuation = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
            parts.append(f"**{prompt}**{continuation}")
    return "\n\n".join(parts)
