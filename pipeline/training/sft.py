"""Supervised fine-tuning: the rows are conversations, the loss is on the assistant's words alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import torch
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.models.generation import answer_greedily, context_tokens, stop_ids
from pipeline.training.chat_rows import ChatRow, chat_rows, held_out_loss, prompt
from pipeline.training.conversations import Conversations
from pipeline.training.finetune import FinetuneConfig, Job
from pipeline.training.trainer import train_by
from pipeline.training.tuning import Objective, Result, Run, Tokenizer
from pipeline.training.tuning_config import TooFewRowsError


@dataclass(frozen=True)
class Chats:
    """What is learned from and judged on, as rows of ids."""

    train: list[ChatRow]
    held_out: list[ChatRow]
    questions: list[str]
    """Held-out questions to show answers to."""
    too_long: int


class Sft(Objective):
    """Learns the answers of conversations."""

    def __init__(self, job: Job) -> None:
        self.config = job.config
        self.model, self.tokenizer = job.base.load(torch.float32)
        longest = min(job.config.max_tokens, context_tokens(self.model))
        self.chats = _chats(job.conversations, job.config, self.tokenizer, longest)
        self.lengths = [len(row.ids) for row in self.chats.train]

    def train(self, run: Run) -> None:
        left = [self.chats.train[row] for row in run.rows_left()]
        rows = datasets.Dataset.from_list([{"input_ids": row.ids, "labels": row.labels} for row in left])
        train_by(SFTTrainer, SFTConfig, run, rows, {"max_length": None})

    def evaluate(self, run: Run) -> float:
        """Held-out loss and answers to held-out questions."""
        loss = held_out_loss(
            run.model, self.chats.held_out, run.autocast, int(self.tokenizer.pad_token_id), run.group
        )
        if run.group.is_first:
            run.journal.metrics(run.done, held_out_loss=loss)
            if self.chats.questions:
                run.journal.text("answers", run.done, self._answers(run))
        return loss

    def _answers(self, run: Run) -> str:
        """The shown questions with the model's likeliest answers, as Markdown."""
        ends = stop_ids(self.tokenizer)
        with run.autocast():
            answers = answer_greedily(
                run.model,
                [prompt(self.tokenizer, question) for question in self.chats.questions],
                max_tokens=self.config.answer_tokens,
                stop=ends,
            )
        parts = []
        for question, ids in zip(self.chats.questions, answers, strict=True):
            text = self.tokenizer.decode([index for index in ids if index not in ends])
            parts.append(f"**{question}**\n{text}{'' if ids and ids[-1] in ends else ' …'}")
        return "\n\n".join(parts)

    def tokens_of(self, rows: Sequence[int], logs: Mapping[str, float]) -> int:
        """Tokens of the answers."""
        return sum(label >= 0 for row in rows for label in self.chats.train[row].labels)

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        if "mean_token_accuracy" not in logs:
            return {}
        return {"token_accuracy": float(logs["mean_token_accuracy"])}

    def result(self, run: Run) -> Result:
        return Result(
            counts={"conversations": len(self.chats.train), "too_long": self.chats.too_long},
            figures={"held_out_loss": run.held_out_loss},
        )


def _chats(conversations: Conversations, config: FinetuneConfig, tokenizer: Tokenizer, longest: int) -> Chats:
    train, too_long = chat_rows(tokenizer, conversations.rows("train"), longest)
    held_out = list(conversations.rows("held-out"))
    judged = [held_out[index] for index in _spread(len(held_out), config.evaluation_rows)]
    rows, _ = chat_rows(tokenizer, judged, longest)
    if not rows:
        raise TooFewRowsError(
            f"all {len(judged)} held-out conversations are longer than {longest} tokens; "
            "raise finetune.max_tokens (up to the base model's context) or bring shorter ones"
        )
    shown = [held_out[index]["question"] for index in _spread(len(held_out), config.shown_questions)]
    return Chats(train, rows, shown, too_long)


def _spread(total: int, count: int) -> list[int]:
    """So many numbers below `total` at most, evenly spread and each once."""
    return sorted({int(index) for index in np.linspace(0, total - 1, min(count, total))})
