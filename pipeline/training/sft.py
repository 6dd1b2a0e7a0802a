"""Supervised fine-tuning: the rows are conversations, the loss is on the assistant's words alone."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pipeline.models.generation import answer_greedily, context_tokens, stop_ids
from pipeline.tokens.markers import ROLES, TURN_END
from pipeline.training.adapter import load_base
from pipeline.training.chat_rows import ChatRow, ChatRows, chat_rows, held_out_loss, prompt
from pipeline.training.conversations import Conversations
from pipeline.training.finetune import FinetuneConfig, Job
from pipeline.training.group import Group
from pipeline.training.packed_chats import PackedBatch
from pipeline.training.trainer import train_by
from pipeline.training.tuning import Objective, Result, Run, spread
from pipeline.training.tuning_config import TooFewRowsError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chats:
    """What is learned from and judged on, as rows of ids."""

    train: ChatRows
    held_out: list[ChatRow]
    questions: list[str]
    """Held-out questions to show answers to."""


class Sft(Objective):
    """Learns the answers of conversations."""

    def __init__(self, job: Job, group: Group) -> None:
        self.config = job.config
        self.model, self.tokenizer = load_base(job, group)
        known = self.tokenizer.get_vocab()
        self.new_tokens = [known[marker] for marker in (*ROLES.values(), TURN_END) if marker in known]
        self.row_tokens = min(job.config.max_tokens, context_tokens(self.model))
        self.chats = _chats(job.conversations, job.config, self.tokenizer, self.row_tokens)
        self.lengths = [len(row.ids) for row in self.chats.train.rows]

    def train(self, run: Run) -> None:
        self._tell_what_is_lost(run)
        left = [self.chats.train.rows[row] for row in run.rows_left()]
        rows = datasets.Dataset.from_list([{"input_ids": row.ids, "labels": row.labels} for row in left])
        packed = PackedBatch(self.row_tokens, int(self.tokenizer.pad_token_id))
        given: dict[str, Any] = {"data_collator": packed} if self.config.packing else {}
        train_by(SFTTrainer, SFTConfig, run, rows, {"max_length": None}, **given)

    def _tell_what_is_lost(self, run: Run) -> None:
        found = self.chats.train
        if run.group.is_first and run.done == 0 and found.too_long + found.cut:
            message = (
                f"of {len(found.rows) + found.too_long} conversations, {found.too_long} are longer than "
                f"{self.row_tokens} tokens and left out, {found.cut} are cut there"
            )
            log.warning("%s", message)
            run.journal.write("warning", message=message)

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
        return sum(label >= 0 for row in rows for label in self.chats.train.rows[row].labels)

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        if "mean_token_accuracy" not in logs:
            return {}
        return {"token_accuracy": float(logs["mean_token_accuracy"])}

    def result(self, run: Run) -> Result:
        found = self.chats.train
        counts = {"conversations": len(found.rows), "too_long": found.too_long}
        if self.config.too_long == "cut":
            counts["cut"] = found.cut
        return Result(counts, {"held_out_loss": run.held_out_loss})


def _chats(
    conversations: Conversations, config: FinetuneConfig, tokenizer: Tokenizer, row_tokens: int
) -> Chats:
    train = chat_rows(tokenizer, conversations.rows("train"), row_tokens, config.too_long)
    if train.too_long and len(train.rows) < config.batch_rows:
        raise TooFewRowsError(
            f"{train.too_long} of {train.too_long + len(train.rows)} conversations are longer than "
            f"{row_tokens} tokens, and those that are left do not fill a batch of {config.batch_rows}; raise "
            'finetune.max_tokens (up to the base model\'s context), or set finetune.too_long = "cut"'
        )
    held_out = list(conversations.rows("held-out"))
    judged = spread(held_out, config.evaluation_rows)
    rows = chat_rows(tokenizer, judged, row_tokens, config.too_long).rows
    if not rows:
        raise TooFewRowsError(
            f"all {len(judged)} held-out conversations are longer than {row_tokens} tokens; "
            "raise finetune.max_tokens (up to the base model's context) or bring shorter ones"
        )
    shown = [row["question"] for row in spread(held_out, config.shown_questions)]
    return Chats(train, rows, shown)
