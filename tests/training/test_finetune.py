"""Fine-tuning: only answers are learned, they end, and a killed run ends with the same bits."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.compute import Compute
from pipeline.models.generation import answer_greedily
from pipeline.store import Attempt, JournalReader, Storage, sha256_of
from pipeline.tokens.markers import ASSISTANT_ID, BEGIN_ID, END_ID, PAD_ID, TURN_END_ID, USER_ID
from pipeline.tokens.rows import NO_LABEL
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.chat_rows import answer_losses, chat_row, chat_rows, prompt
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.finetune import Job, NoChatTemplateError, finetune
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import (
    BatchRowsError,
    NonFiniteGradientError,
    TooFewRowsError,
    check_batch,
)
from tests.training.test_conversations import talk
from tests.training.tuned import CONFIG, RESOLVED, Inputs, inputs_in, run_until
from tests.training.tuning_processes import tune_and_leave


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, small_vocabulary: Vocabulary, compute: Compute) -> Inputs:
    return inputs_in(tmp_path_factory.mktemp("finetune"), small_vocabulary, compute)


@pytest.fixture(scope="module")
def chat(made: Inputs, compute: Compute) -> Any:
    """The stage as users run it, through Ray Train."""
    repeatable = dataclasses.replace(compute, config=RESOLVED)
    return finetune(made.store, made.base, made.conversations, CONFIG, repeatable)


def test_the_loss_is_on_the_answers_and_their_end_marker_alone(small_vocabulary):
    tokenizer = small_vocabulary.tokenizer()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What <|end|> is <s>?"},
        {"role": "assistant", "content": "A tag."},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "No more."},
    ]
    row = chat_row(tokenizer, messages)
    learned = [label for label in row.labels if label != NO_LABEL]
    assert tokenizer.decode(learned) == "A tag.<|end|>No more.<|end|>"
    assert row.ids.count(TURN_END_ID) == len(messages)
    assert row.ids[0] == BEGIN_ID
    assert row.ids.count(BEGIN_ID) == 1
    assert all(label in (index, NO_LABEL) for index, label in zip(row.ids, row.labels, strict=True))
    question = prompt(tokenizer, "And?")
    assert question[:2] == [BEGIN_ID, USER_ID]
    assert question[-2:] == [TURN_END_ID, ASSISTANT_ID]


def test_conversations_that_do_not_fit_are_left_out_whole_and_counted(small_vocabulary):
    tokenizer = small_vocabulary.tokenizer()
    found = chat_rows(tokenizer, [talk("Short?", "Yes."), talk("Long?", "no " * 50)], 30)
    assert (len(found.rows), found.too_long) == (1, 1)


def test_a_template_that_leaves_the_end_marker_out_is_refused(small_vocabulary):
    tokenizer = small_vocabulary.tokenizer()
    messages = talk("Short?", "Yes.")["messages"]
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "content ~ '<|end|>' -}}{%- endgeneration", "content -}}{%- endgeneration"
    )
    with pytest.raises(NoChatTemplateError, match="would never end"):
        chat_row(tokenizer, messages)
    tokenizer.chat_template = None
    with pytest.raises(NoChatTemplateError, match="no chat template"):
        chat_row(tokenizer, messages)


def test_a_random_model_learns_to_answer_and_to_end(made, chat):
    model, tokenizer = chat.load()
    held_out = list(made.conversations.rows("held-out"))
    assert chat.record.counts == {
        "steps": 40,
        "tokens": chat.record.counts["tokens"],
        "conversations": made.conversations.record.counts["train"] - chat.record.counts["too_long"],
        "too_long": chat.record.counts["too_long"],
    }
    answers = answer_greedily(
        model, [prompt(tokenizer, row["question"]) for row in held_out], max_tokens=40, stop=[TURN_END_ID]
    )
    ended = sum(answer[-1] == TURN_END_ID for answer in answers)
    assert ended >= 0.9 * len(held_out)
    journal = f"{chat.base}/attempts/{chat.record.attempt}/journal"
    lines = list(JournalReader(made.store.storage, journal).read())
    losses = [line["values"]["held_out_loss"] for line in lines if "held_out_loss" in line.get("values", {})]
    assert len(losses) == 3
    assert losses[-1] < losses[0] / 3
    assert losses[-1] == pytest.approx(chat.record.figures["held_out_loss"])
    shown = [line["text"] for line in lines if line["kind"] == "text"]
    assert len(shown) == 3
    assert shown[0].count("**") == 4


def test_the_chat_model_opens_anywhere_and_holds_no_pickle(made, chat):
    folder = chat.model_folder()
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "chat_template.jinja"} <= names
    assert {Path(name).suffix for name in names} <= {".safetensors", ".json", ".jinja", ".model"}
    ours, _ = chat.load()
    theirs = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = torch.tensor([prompt(tokenizer, "What is the red hat?")])
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert theirs.generation_config.eos_token_id == [TURN_END_ID, END_ID]
    assert theirs.generation_config.pad_token_id == PAD_ID
    output = theirs.generate(ids, max_new_tokens=30)
    assert output[0, -1] in (TURN_END_ID, END_ID)


def test_answers_are_scored_alike_alone_and_in_a_batch(made, chat):
    model, tokenizer = chat.load()
    rows = chat_rows(tokenizer, made.conversations.rows("held-out"), 60).rows
    together = answer_losses(model, rows, torch.no_grad, PAD_ID)
    alone = [answer_losses(model, [row], torch.no_grad, PAD_ID)[0] for row in rows]
    assert [count for _, count in together] == [count for _, count in alone]
    assert [loss for loss, _ in together] == pytest.approx([loss for loss, _ in alone], rel=1e-4)


@pytest.mark.everything
def test_killed_and_run_again_it_ends_with_the_same_bits(made, chat):
    run_until(made, "killed", "1", 17, CONFIG)
    newest, _ = Checkpoints(Attempt(made.store.storage, "finetune", "killed", "1"), "x").newest()
    assert newest is not None
    assert newest.manifest.step == 16
    assert set(newest.manifest.files) == {".metadata", "__0_0.distcp", "random-00000.pt"}
    attempt = run_until(made, "killed", "2", None, CONFIG)
    lines = list(JournalReader(made.store.storage, f"{attempt.folder}/journal").read())
    assert [line["step"] for line in lines if line["kind"] == "resumed"] == [16]
    weights = sha256_of(attempt.path("model/model.safetensors"))
    assert weights == chat.record.files["model/model.safetensors"].sha256


def test_told_to_leave_it_saves_the_step_and_goes_on_to_the_same_bits(made, chat, monkeypatch):
    rarely = RESOLVED.model_copy(update={"checkpoint_seconds": 1e6})
    attempts = [Attempt(made.store.storage, "finetune", "told", id) for id in ("1", "2")]
    first, second = (Job(attempt, made.base, CONFIG, rarely, made.conversations) for attempt in attempts)
    tune_and_leave(first, 11, monkeypatch)
    tune(second, Group.alone())
    for attempt, kind in zip(attempts, ("preempted", "resumed"), strict=True):
        lines = JournalReader(made.store.storage, f"{attempt.folder}/journal").read()
        assert [line["step"] for line in lines if line["kind"] == kind] == [11]
    weights = sha256_of(attempts[1].path("model/model.safetensors"))
    assert weights == chat.record.files["model/model.safetensors"].sha256


def test_a_broken_gradient_is_refused_before_the_weights_change(made, tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "finetune", "broken", "1")
    config = CONFIG.model_copy(update={"learning_rate": float("inf")})
    job = Job(attempt, made.base, config, RESOLVED, made.conversations)
    with pytest.raises(NonFiniteGradientError, match=r"Lower finetune\.learning_rate"):
        tune(job, Group.alone())


def test_batches_that_cannot_be_filled_or_shared_are_refused_with_what_would_work():
    with pytest.raises(TooFewRowsError, match=r"set finetune\.batch_rows to at most 5"):
        check_batch(CONFIG, 5, 1)
    with pytest.raises(BatchRowsError, match="try 6"):
        check_batch(CONFIG, 100, 3)


def test_accumulated_micro_batches_make_the_same_update(made, tmp_path):
    losses = []
    for rows in (8, 2):
        attempt = Attempt(Storage(str(tmp_path / str(rows))), "finetune", "micro", "1")
        compute = RESOLVED.model_copy(update={"micro_batch_rows": rows, "checkpoint_seconds": 100.0})
        config = CONFIG.model_copy(update={"steps": 6, "shown_questions": 0})
        tune(Job(attempt, made.base, config, compute, made.conversations), Group.alone())
        lines = JournalReader(attempt.storage, f"{attempt.folder}/journal").read()
        losses.append(
            [line["values"]["held_out_loss"] for line in lines if "held_out_loss" in line.get("values", {})]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
