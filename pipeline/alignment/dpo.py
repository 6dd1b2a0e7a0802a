"""Direct preference optimization: the rows are pairs of answers, and the loss pulls them apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from pipeline.alignment.align import DpoJob
from pipeline.alignment.aligning import Aligning, reference_model, weights_now
from pipeline.alignment.pair_rows import PairRow, pair_rows
from pipeline.alignment.prompts import prompts_of
from pipeline.models.generation import context_tokens
from pipeline.training.adapter import load_base
from pipeline.training.chat_rows import answer_losses
from pipeline.training.group import Group
from pipeline.training.trainer import train_by
from pipeline.training.tuning import Objective, Result, Run, spread
from pipeline.training.tuning_config import TooFewRowsError


class Pairs(DPOTrainer):
    """TRL's trainer for pairs that are token ids already."""

    def _prepare_dataset(self, dataset: Any, *given: Any, **named: Any) -> Any:
        return dataset


class Dpo(Objective):
    """Learns which of two answers is preferred."""

    def __init__(self, job: DpoJob, group: Group) -> None:
        self.job, self.config = job, job.config
        self.model, self.tokenizer = load_base(job, group)
        self.reference = reference_model(job, group)
        context = context_tokens(self.model)
        longest = min(job.config.max_tokens, context)
        self.pairs = pair_rows(self.tokenizer, job.preferences.rows("train"), longest)
        held_out = list(job.preferences.rows("held-out"))
        self.held_out = pair_rows(self.tokenizer, spread(held_out, job.config.evaluation_rows), longest).rows
        prompts, _ = prompts_of(self.tokenizer, held_out, context - job.config.answer_tokens)
        self._check(job, longest, len(prompts))
        prompts = spread(prompts, job.config.evaluation_prompts)
        self.aligning = Aligning(job.config, prompts, self.reference, None)
        self.lengths = [row.tokens for row in self.pairs.rows]
        self.reference_margins: list[float] | None = None

    def _check(self, job: DpoJob, longest: int, prompts: int) -> None:
        pairs = self.pairs
        if not pairs.rows or not self.held_out or not prompts:
            raise TooFewRowsError(
                f"{len(pairs.rows)} preferences are left to learn from ({pairs.equal} have the same answer "
                f"twice, {pairs.too_long} are longer than {longest} tokens), {len(self.held_out)} held-out "
                f"ones and {prompts} of their prompts to judge by; bring others, raise dpo.max_tokens or "
                "lower dpo.answer_tokens (prompt and answer have to fit into the model's context)"
            )

    @property
    def longest(self) -> int:
        """Of both answers to a prompt, which are computed together."""
        return max(2 * tokens for tokens in self.lengths)

    def train(self, run: Run) -> None:
        left = [self.pairs.rows[row] for row in run.rows_left()]
        rows = datasets.Dataset.from_list(
            [
                {"prompt_ids": row.prompt, "chosen_ids": row.chosen, "rejected_ids": row.rejected}
                for row in left
            ]
        )
        config = self.config
        also = config.likelihood_weight > 0
        settings = {
            "beta": config.beta,
            "loss_type": [config.loss, "sft"] if also else [config.loss],
            "loss_weights": [1.0, config.likelihood_weight] if also else None,
            "label_smoothing": config.label_smoothing,
            "max_length": None,
            "disable_dropout": True,
        }
        train_by(Pairs, DPOConfig, run, rows, settings, ref_model=self.reference)

    def evaluate(self, run: Run) -> float:
        """Loss and accuracy on held-out pairs; answers to their prompts, which the guards look at."""
        margins = self._margins(run)
        loss = float(np.mean([-float(logsigmoid(torch.tensor(margin))) for margin in margins]))
        accuracy = float(np.mean([margin > 0 for margin in margins]))
        judged = self.aligning.judge(run)
        run.memory["accuracy"] = accuracy
        if run.group.is_first:
            run.journal.metrics(
                run.done,
                held_out_loss=loss,
                held_out_accuracy=accuracy,
                held_out_margin=float(np.mean(margins)),
                **judged.told(),
            )
        if run.stopped is None:
            last = run.done == run.steps
            reason = self.aligning.guarded(run, judged.vitals, weights_now(run.model), last=last)
            run.memory["collapse"] = reason
            if last:
                run.stopped = self._back(run, reason)
                if run.stopped is not None:
                    return self.evaluate(run)  # what is told is what is exported
        return loss

    def _margins(self, run: Run) -> list[float]:
        """By how much more than the reference the model prefers each held-out pair's chosen answer, in
        nats times beta. Every rank scores its share."""
        share = np.array_split(np.arange(len(self.held_out)), run.group.size)[run.group.rank]
        own = [self.held_out[place] for place in share]
        if self.reference_margins is None:
            self.reference_margins = _preference(run, self.reference, own)
        found = zip(_preference(run, run.model, own), self.reference_margins, strict=True)
        mine = [self.config.beta * (now - at_first) for now, at_first in found]
        return [margin for part in run.group.gather(mine) for margin in part]

    def kept(self, run: Run) -> dict[str, Any]:
        return self.aligning.kept(run)

    def tokens_of(self, rows: Sequence[int], logs: Mapping[str, float]) -> int:
        """Tokens of both answers."""
        pairs = (self.pairs.rows[row] for row in rows)
        return sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        names = {
            "rewards/accuracies": "accuracy",
            "rewards/margins": "margin",
            "rewards/chosen": "chosen_reward",
            "rewards/rejected": "rejected_reward",
        }
        return {name: float(logs[key]) for key, name in names.items() if key in logs}

    def stop(self, run: Run, logs: Mapping[str, float]) -> str | None:
        """What a guard said at the last evaluation."""
        return self._back(run, run.memory.get("collapse"))

    def _back(self, run: Run, reason: str | None) -> str | None:
        """The reason; where there is one, the weights are those of the last good evaluation again."""
        if reason is not None:
            self.aligning.go_back(run)
        return reason

    def result(self, run: Run) -> Result:
        return Result(
            counts={
                "pairs": len(self.pairs.rows),
                "equal": self.pairs.equal,
                "too_long": self.pairs.too_long,
                "stopped_early": int(run.stopped is not None),
            },
            figures={
                "held_out_loss": run.held_out_loss,
                "held_out_accuracy": run.memory["accuracy"],
                **self.aligning.figures(run),
            },
            files=self.aligning.story(run, self.job.attempt),
        )


def _preference(run: Run, model: PreTrainedModel, pairs: Sequence[PairRow]) -> list[float]:
    """Log-probability of the chosen answer less that of the other, in nats."""
    rows = [row for pair in pairs for row in pair.rows()]
    losses = [loss for loss, _ in answer_losses(model, rows, run.autocast, int(run.tokenizer.pad_token_id))]
    return [rejected - chosen for chosen, rejected in zip(losses[::2], losses[1::2], strict=True)]
