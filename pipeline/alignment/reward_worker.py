"""What is special about training a reward model: pairs of conversations, a head of one number, a report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl.trainer.reward_config import RewardConfig as TrlRewardConfig
from trl.trainer.reward_trainer import RewardTrainer, suppress_seqcls_warning

from pipeline.alignment.pair_rows import PairRow, PairRows, pair_rows
from pipeline.alignment.preferences import Preferences
from pipeline.alignment.reward import ONE_PAIR, REPORT, RewardConfig, RewardJob
from pipeline.alignment.reward_report import Scored, report
from pipeline.alignment.reward_scores import score
from pipeline.models.generation import context_tokens
from pipeline.models.model import Model, load_tokenizer
from pipeline.models.saving import copy_tokenizer
from pipeline.store import Attempt
from pipeline.training.trainer import train_by
from pipeline.training.tuning import Objective, Result, Run
from pipeline.training.tuning_config import TooFewRowsError


class Reward(Objective):
    """Learns to give the chosen answer of each pair more than the rejected one."""

    def __init__(self, job: RewardJob) -> None:
        self.config: RewardConfig = job.config
        self.attempt: Attempt = job.attempt
        self.tokenizer = load_tokenizer(job.base.tokenizer_folder())
        self.model = _with_head(job.base, self.tokenizer)
        longest = min(job.config.max_tokens, context_tokens(self.model))
        self.train_rows = pair_rows(self.tokenizer, job.preferences.rows("train"), longest)
        self.judged, self.held_out = _held_out(job.preferences, job.config, self.tokenizer, longest)
        self.lengths = [row.tokens for row in self.train_rows.rows]
        self.scored: list[Scored] = []

    @property
    def longest(self) -> int:
        """Both conversations of a pair are computed together."""
        return ONE_PAIR * max(self.lengths)

    def train(self, run: Run) -> None:
        left = [self.train_rows.rows[row] for row in run.rows_left()]
        rows = datasets.Dataset.from_list(
            [
                {"chosen_ids": row.prompt + row.chosen, "rejected_ids": row.prompt + row.rejected}
                for row in left
            ]
        )
        settings = {"max_length": None, "center_rewards_coefficient": self.config.centering or None}
        train_by(RewardTrainer, TrlRewardConfig, run, rows, settings)

    def evaluate(self, run: Run) -> float:
        """Loss, accuracy and rewards on held-out pairs; every rank scores its share."""
        mine = np.array_split(np.arange(len(self.held_out)), run.group.size)[run.group.rank]
        pad = int(self.tokenizer.pad_token_id)
        found_N2 = torch.zeros(len(self.held_out), ONE_PAIR, dtype=torch.float64, device=run.group.device)
        for column, side in enumerate(("chosen", "rejected")):
            ids = [self.held_out[at].prompt + getattr(self.held_out[at], side) for at in mine]
            scores = score(run.model, ids, pad, run.autocast)
            found_N2[torch.as_tensor(mine), column] = torch.tensor(scores).to(found_N2)
        run.group.sum(found_N2)
        margins_N = found_N2[:, 0] - found_N2[:, 1]
        loss = float(F.softplus(-margins_N).mean())
        self.scored = [
            Scored(chosen, rejected, len(row.chosen), len(row.rejected), language)
            for (chosen, rejected), row, language in zip(
                found_N2.tolist(), self.held_out, self.judged, strict=True
            )
        ]
        if run.group.is_first:
            right = (margins_N > 0).double() + 0.5 * (margins_N == 0)
            run.journal.metrics(
                run.done,
                held_out_loss=loss,
                held_out_accuracy=float(right.mean()),
                margin=float(margins_N.mean()),
                reward=float(found_N2.mean()),
            )
        return loss

    def tokens_of(self, rows: Sequence[int], logs: Mapping[str, float]) -> int:
        """Tokens of both answers."""
        pairs = [self.train_rows.rows[row] for row in rows]
        return sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        return {name: float(logs[name]) for name in ("accuracy",) if name in logs}

    def export(self, run: Run, base: Model, folder: Path) -> None:
        run.model.save_pretrained(folder)
        copy_tokenizer(base, folder)

    def result(self, run: Run) -> Result:
        """The report on the held-out pairs, with its plots."""
        from pipeline.alignment.reward_plots import plot_reward

        found = report(self.scored)
        folder = self.attempt.path("report/.").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(json.dumps(found, indent=2) + "\n")
        plot_reward(found, self.scored, folder / "plots")
        files = self.attempt.publish_folder("report")
        rows: PairRows = self.train_rows
        return Result(
            counts={
                "pairs": len(rows.rows),
                "held_out_pairs": len(self.scored),
                "equal": rows.equal,
                "too_long": rows.too_long,
            },
            figures={
                "held_out_loss": run.held_out_loss,
                "accuracy": found["accuracy"]["value"],
                "calibration_error": found["calibration"]["error"],
                "length_correlation": found["length"]["correlation"],
            },
            files={name.removeprefix("report/"): file for name, file in files.items()},
        )


def _with_head(base: Model, tokenizer: Tokenizer) -> PreTrainedModel:
    """The base model with a head of one number in place of the one for words; it begins at random."""
    with suppress_seqcls_warning():
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            base.model_folder(),
            num_labels=1,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


def _held_out(
    preferences: Preferences, config: RewardConfig, tokenizer: Tokenizer, longest: int
) -> tuple[list[str], list[PairRow]]:
    """Languages and ids of the pairs that are judged: evenly spread over those held out that fit."""
    languages: list[str] = []
    rows: list[PairRow] = []
    for pair in preferences.rows("held-out"):
        fitting = pair_rows(tokenizer, [pair], longest).rows
        languages += [pair["language"]] * len(fitting)
        rows += fitting
    if not rows:
        raise TooFewRowsError(
            f"all {preferences.record.counts['held-out']} held-out preferences are longer than {longest} "
            "tokens; raise reward.max_tokens (up to the chat model's context) or bring shorter ones"
        )
    kept = sorted({int(at) for at in np.linspace(0, len(rows) - 1, min(config.evaluation_rows, len(rows)))})
    return [languages[at] for at in kept], [rows[at] for at in kept]
