"""Packed conversations: they do not see each other, and learning from them is the same."""

import pytest
import torch

from pipeline.store import JournalReader
from pipeline.tokens.markers import PAD_ID
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.chat_rows import ChatRow, answer_losses, chat_rows
from pipeline.training.packed_chats import PackedBatch
from tests.evaluation.stand_ins import random_model
from tests.training.test_conversations import talk
from tests.training.tuned import CONFIG, RESOLVED, inputs_in, tuned

ROWS = [
    ChatRow(
        [1, *range(start, start + length - 1)], [NO_LABEL] * 3 + list(range(start + 2, start + length - 1))
    )
    for start, length in ((10, 9), (200, 21), (400, 14), (600, 30), (900, 5))
]


def batch_of(rows: list[ChatRow]) -> dict[str, torch.Tensor]:
    packed = PackedBatch(row_tokens=40, pad=PAD_ID)
    return packed([{"input_ids": row.ids, "labels": row.labels} for row in rows])


def test_every_token_and_label_is_there_once_in_few_rows():
    batch = batch_of(ROWS)
    assert batch["input_ids"].shape == (2, 40)
    assert sorted(batch["input_ids"][batch["input_ids"] != PAD_ID].tolist()) == sorted(
        index for row in ROWS for index in row.ids
    )
    labels = batch["labels"]
    assert sorted(labels[labels >= 0].tolist()) == sorted(
        label for row in ROWS for label in row.labels if label >= 0
    )


def test_another_conversation_in_the_row_changes_no_bit_of_a_conversations_scores():
    model = random_model(1024)
    before, changed = batch_of(ROWS), batch_of(ROWS)
    others = ~torch.isin(before["input_ids"], torch.tensor(ROWS[1].ids[1:]))
    perturbed = others & (before["input_ids"] > 3)
    assert perturbed.any()
    changed["input_ids"] = torch.where(perturbed, before["input_ids"] + 1, before["input_ids"])
    scores = []
    for batch in (before, changed):
        with torch.no_grad():
            scores.append(model(**{name: batch[name] for name in batch if name != "labels"}).logits)
    own = torch.isin(before["input_ids"], torch.tensor(ROWS[1].ids[1:]))
    assert torch.equal(scores[0][own], scores[1][own])
    assert not torch.equal(scores[0][perturbed], scores[1][perturbed])
    with torch.no_grad():
        alone = model(torch.tensor([ROWS[1].ids])).logits[0, 1:]
    assert torch.allclose(scores[0][own], alone, atol=1e-5)


def test_the_loss_is_that_of_the_conversations_one_by_one():
    model = random_model(1024)
    batch = batch_of(ROWS)
    with torch.no_grad():
        logits = model(**{name: batch[name] for name in batch if name != "labels"}).logits
    packed = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=NO_LABEL, reduction="sum"
    )
    alone = answer_losses(model, ROWS, torch.no_grad, PAD_ID)
    assert float(packed) == pytest.approx(sum(loss for loss, _ in alone), rel=1e-5)


def test_a_whole_training_is_the_same_packed_or_not(small_vocabulary, compute, tmp_path):
    given = inputs_in(tmp_path, small_vocabulary, compute)
    found = {}
    for packing in (False, True):
        config = CONFIG.model_copy(update={"steps": 6, "shown_questions": 0, "packing": packing})
        model = tuned(given, config, RESOLVED.model_copy(update={"checkpoint_seconds": 100.0}))
        journal = JournalReader(given.store.storage, f"{model.base}/attempts/{model.record.attempt}/journal")
        warnings = [line["message"] for line in journal.read() if line["kind"] == "warning"]
        assert len(warnings) == model.record.counts["too_long"]
        found[packing] = model.record.figures
    assert found[True] == pytest.approx(found[False], rel=1e-4)


def test_what_is_too_long_is_cut_if_so_wished_and_left_out_if_no_answer_would_be_left(small_vocabulary):
    tokenizer = small_vocabulary.tokenizer()
    talks = [talk("Short?", "Yes."), talk("Long?", "no " * 50), talk("so long " * 50 + "?", "Yes.")]
    left_out = chat_rows(tokenizer, talks, 30)
    assert (len(left_out.rows), left_out.too_long, left_out.cut) == (1, 2, 0)
    cut = chat_rows(tokenizer, talks, 30, "cut")
    assert (len(cut.rows), cut.too_long, cut.cut) == (2, 1, 1)
    assert len(cut.rows[1].ids) == len(cut.rows[1].labels) == 30
    assert all(any(label != NO_LABEL for label in row.labels) for row in cut.rows)
