"""The loop on a toy corpus: borders between documents, gradients, faults, what is told and what is left."""

import copy
import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.compute_config import ComputeConfig
from pipeline.hardware import products
from pipeline.store import Attempt, JournalReader, Storage
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.forward import document_mask, host_tensors, logits, loss_function, to_device
from pipeline.training.group import Group
from pipeline.training.loader import MicroBatch
from pipeline.training.loop import Loop
from pipeline.training.memory import MAXRSS_BYTES
from pipeline.training.optimizer import Muon
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.update import NonFiniteLossError
from pipeline.training.worker import Data, assemble, train
from tests.training.toys import toy_attempt, toy_config, toy_data

COMPUTE = ComputeConfig(compile=False, threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"))


def loop_of(folder: Path, data: Data, config: PretrainConfig, compute: ComputeConfig = COMPUTE) -> Loop:
    attempt = toy_attempt(folder)
    checkpoints = Checkpoints(attempt, "x")
    return assemble(config, compute, checkpoints, None, data, Group.alone(), attempt.journal("pretrain"))


def test_what_stands_in_one_document_does_not_reach_the_next(tmp_path, data):
    loop = loop_of(tmp_path, data, toy_config(precision="fp32"))
    row = next(n for n in range(len(data.train)) if data.train.batch(np.array([n])).documents_BT.max() >= 1)
    part = to_device(data.train.batch(np.array([row])), 1, data.train.pad, loop.group.device)
    changed_BT = torch.where(part.documents_BT == 0, (part.tokens_BT + 7) % 256, part.tokens_BT)
    with torch.no_grad():
        before = logits(loop.model, part.tokens_BT, part.documents_BT, part.positions_BT)
        after = logits(loop.model, changed_BT, part.documents_BT, part.positions_BT)
    others = part.documents_BT > 0
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[~others], after[~others])


def test_a_packed_document_gets_the_logits_that_it_gets_alone(tmp_path, data):
    loop = loop_of(tmp_path, data, toy_config(precision="fp32"))
    row = next(n for n in range(len(data.train)) if data.train.batch(np.array([n])).documents_BT.max() >= 1)
    part = to_device(data.train.batch(np.array([row])), 1, data.train.pad, loop.group.device)
    second = part.documents_BT[0] == 1
    with torch.no_grad():
        packed = logits(loop.model, part.tokens_BT, part.documents_BT, part.positions_BT)[0, second]
        alone = loop.model(input_ids=part.tokens_BT[:, second]).logits[0]
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_the_mask_has_no_empty_row_even_for_padding():
    mask = document_mask(torch.tensor([[0, 0, 1, -1, -1], [-1] * 5]))
    assert mask.any(-1).all()
    assert not mask[0, 0, 2, 1]
    assert not mask.triu(1).any()


@pytest.mark.parametrize("micro_batch_rows", [1, 3, 8])
def test_the_update_does_not_hang_on_the_micro_batch(tmp_path, data, micro_batch_rows):
    config = toy_config(precision="fp32", steps=3)
    whole = loop_of(tmp_path / "a", data, config, COMPUTE.model_copy(update={"micro_batch_rows": 8}))
    parts = loop_of(
        tmp_path / "b", data, config, COMPUTE.model_copy(update={"micro_batch_rows": micro_batch_rows})
    )
    for _ in range(3):
        expected, found = whole.train_step(), parts.train_step()
        whole.step, parts.step = whole.step + 1, parts.step + 1
        assert found.labels == expected.labels
        assert found.loss == pytest.approx(expected.loss, abs=1e-4)


def test_gradients_are_those_of_the_mean_loss_over_all_labels(tmp_path, data):
    loop = loop_of(tmp_path, data, toy_config(precision="fp32", gradient_clip_norm=1e9, steps=3))
    reference = copy.deepcopy(loop.model)
    rows = np.arange(loop.batch_rows)
    part = to_device(data.train.batch(rows), len(rows), data.train.pad, loop.group.device)
    total = loss_function(reference, "fp32", loop.group.device)(
        part.tokens_BT, part.documents_BT, part.positions_BT, part.labels_BT
    )
    labels = int((part.labels_BT != NO_LABEL).sum())
    (total / labels).backward()
    micro_batch = MicroBatch(rows, host_tensors(data.train.batch(rows), len(rows), data.train.pad), labels)
    assert int(loop._accumulate([micro_batch])[1]) == labels
    loop._average_gradients(labels)
    for expected, found in zip(reference.parameters(), loop.model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, atol=1e-6, rtol=1e-4)


def test_a_loss_that_is_not_a_number_stops_before_the_update_and_names_step_rows_and_urls(tmp_path, data):
    loop = loop_of(tmp_path, data, toy_config(steps=5))
    loop.train_step()
    loop.step = 1
    with torch.no_grad():
        loop.model.model.norm.weight[0] = float("nan")
    before = copy.deepcopy(loop.model.state_dict())
    with pytest.raises(NonFiniteLossError, match=r"step 1: the loss is nan .* \(http://test/\d+\)"):
        loop.train_step()
    for name, weight in loop.model.state_dict().items():
        assert torch.equal(weight, before[name]) or name == "model.norm.weight"
    lines = list(JournalReader(loop.journal.storage, loop.journal.folder).read())
    assert len(lines[-1]["rows"]) == loop.batch_rows


def test_a_run_learns_tells_and_leaves_a_model_that_transformers_opens(tmp_path, data):
    attempt = toy_attempt(tmp_path)
    train(toy_config(steps=30, evaluate_every=10), COMPUTE, attempt, data, Group.alone())
    lines = list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())
    evaluated = {
        line["step"]: line["values"]["held_out_bits_per_byte"]
        for line in lines
        if line["kind"] == "metrics" and "held_out_bits_per_byte" in line["values"]
    }
    assert sorted(evaluated) == [0, 10, 20, 30]
    assert evaluated[30] < 0.6 * evaluated[0]
    assert [line["step"] for line in lines if line["kind"] == "text"] == [0, 10, 20, 30]
    assert [line["done"] for line in lines if line["kind"] == "progress"][-1] == 30

    result = json.loads(attempt.storage.read(f"{attempt.folder}/result.json"))
    assert result["figures"]["held_out_bits_per_byte"] == evaluated[30]
    peak = result["compute"].pop("peak_memory_bytes")
    seconds = result["compute"].pop("seconds")
    assert {"start", "step", "evaluate", "save_wait"} <= set(seconds)
    assert 0 < result["figures"]["goodput"] < 1
    assert 100e6 < peak <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
    assert result["compute"] == {
        "device": "cpu",
        "workers": 1,
        "threads": 1,
        "micro_batch_rows": 8,
        "compile": False,
        "shards": 1,
        "tensor_parallel": 1,
        "activation_checkpointing": "none",
        "offload_optimizer": False,
        "attention": "dense",
        "fused_loss": False,
        "products": products("bf16", "cpu"),
    }
    opened = AutoModelForCausalLM.from_pretrained(attempt.path("model"), local_files_only=True)
    assert result["counts"]["parameters"] == sum(weight.numel() for weight in opened.parameters())
    checkpoint, _ = Checkpoints(attempt, "y").newest()
    assert checkpoint is not None
    for name, weight in checkpoint.weights().items():
        assert torch.equal(opened.state_dict()[name], weight)


def test_muon_updates_as_torch_does():
    torch.manual_seed(0)
    shapes = [(64, 64), (64, 96), (96, 64), (64, 64)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    muon = Muon(ours, 0.01, 0.1)
    oracle = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        muon.step()
        oracle.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=1e-3)


def two_workers(rank: int, folder: str, port: int) -> None:
    """One of two processes that train together by gloo."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    data = toy_data(Path(folder) / f"data-{rank}")
    group = Group(rank, 2, torch.device("cpu"))
    attempt = Attempt(Storage(f"{folder}/store"), "pretrain", "two", "first")
    train(toy_config(steps=6, precision="fp32"), COMPUTE, attempt, data, group)
    torch.distributed.destroy_process_group()


@pytest.mark.everything
def test_two_workers_give_the_losses_of_one(tmp_path, data):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(two_workers, (str(tmp_path), port), nprocs=2)
    two = Attempt(Storage(str(tmp_path / "store")), "pretrain", "two", "first")
    one = toy_attempt(tmp_path)
    train(toy_config(steps=6, precision="fp32"), COMPUTE, one, data, Group.alone())
    found, expected = (
        json.loads(attempt.storage.read(f"{attempt.folder}/result.json")) for attempt in (two, one)
    )
    assert found["counts"] == expected["counts"]
    assert found["compute"]["workers"] == 2
    assert found["figures"]["held_out_loss"] == pytest.approx(expected["figures"]["held_out_loss"], abs=1e-3)
