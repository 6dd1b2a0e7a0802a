"""Every way to compute that needs a GPU, against what a plain way gives there. `pytest -m gpu`."""

import copy
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.distributed.checkpoint as dcp
from transformers import AutoModelForCausalLM

from pipeline.compute_config import ComputeConfig
from pipeline.models.peaks import peak_flops
from pipeline.store import JournalReader, sha256_of
from pipeline.training import fp8, fused_loss, optimizer
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.forward import ATTENTION, Tensors, logits, loss_function
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.profile import ProfileJob, profile_here, read
from pipeline.training.resolve import fused_loss_is_installed
from pipeline.training.synthetic import synthetic_data
from pipeline.training.worker import Data, assemble, train
from tests.training.test_gpu_ways import small_model
from tests.training.toys import toy_attempt, toy_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
ROW_TOKENS, PIECES = 256, 512
PLAIN = ComputeConfig(compile=False, attention="dense", fused_loss=False, threads=1)
QUICK = ComputeConfig(compile=True, attention="flex", checkpoint_seconds=1e9)
needs_liger = pytest.mark.skipif(not fused_loss_is_installed(), reason="liger-kernel is not installed")


def gpu() -> torch.device:
    return torch.device("cuda", 0)


def config_of(**given):
    values = {
        "depth": 2,
        "width": 128,
        "heads": 2,
        "batch_tokens": 8 * ROW_TOKENS,
        "steps": 12,
        "prompts": (),
    }
    return toy_config(**(values | given))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("noise")
    return synthetic_data(folder, pieces=PIECES, row_tokens=ROW_TOKENS, rows=64, documents_per_row=3)


def loop_of(folder: Path, data: Data, compute: ComputeConfig, **given) -> Loop:
    attempt = toy_attempt(folder)
    group = Group(0, 1, gpu())
    return assemble(
        config_of(**given), compute, Checkpoints(attempt, "x"), None, data, group, attempt.journal("x")
    )


def losses_of(loop: Loop, count: int = 6) -> list[float]:
    found = []
    with loop.loader:
        for _ in range(count):
            found.append(loop.train_step().loss)
            loop.step += 1
    return found


def packed(data: Data, rows: int = 4) -> Tensors:
    from pipeline.training.forward import to_device

    return to_device(data.train.batch(torch.arange(rows).numpy()), rows, data.train.pad, gpu())


def model_on_gpu(attention: str):
    model = small_model(ATTENTION[attention])
    model.resize_token_embeddings(PIECES)
    return model.to(gpu())


@pytest.mark.parametrize("compiled", [False, True])
def test_flex_attention_has_the_logits_and_gradients_of_the_dense_mask(data, compiled):
    part = packed(data)
    dense, flex = model_on_gpu("dense"), model_on_gpu("flex")
    flex.load_state_dict(dense.state_dict())
    given = part.given
    loss_of = loss_function(flex, "fp32", gpu(), "flex")
    ours = (torch.compile(loss_of, dynamic=False) if compiled else loss_of)(*given)
    theirs = loss_function(dense, "fp32", gpu())(*given)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2)
    ours.backward()
    theirs.backward()
    for (name, weight), other in zip(flex.named_parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=2e-2, atol=2e-2, msg=name)


def test_what_stands_in_one_document_does_not_reach_the_next_on_a_gpu(data):
    part, model = packed(data), model_on_gpu("flex")
    changed_BT = torch.where(part.documents_BT == 0, (part.tokens_BT + 7) % PIECES, part.tokens_BT)
    with torch.no_grad():
        before = logits(model, part.tokens_BT, part.documents_BT, part.positions_BT, "flex")
        after = logits(model, changed_BT, part.documents_BT, part.positions_BT, "flex")
    others = part.documents_BT > 0
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[~others], after[~others])


@needs_liger
def test_the_fused_loss_has_the_gradients_of_the_plain_one_on_a_gpu(data):
    given = packed(data).given
    plain = model_on_gpu("dense")
    fused = copy.deepcopy(plain)
    fused_loss.prepare(fused, torch.float32)
    losses = [
        loss_function(plain, "fp32", gpu())(*given),
        loss_function(fused, "fp32", gpu(), fused=True)(*given),
    ]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-2)
    for loss in losses:
        loss.backward()
    for (name, weight), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=2e-2, atol=2e-2, msg=name)


def test_the_quick_way_learns_as_the_plain_one(tmp_path, data):
    plain = losses_of(loop_of(tmp_path / "plain", data, PLAIN))
    quick = losses_of(loop_of(tmp_path / "quick", data, QUICK))
    assert quick == pytest.approx(plain, rel=0.02)


def test_compiled_code_is_not_made_anew_after_an_evaluation_or_for_other_documents(tmp_path, data):
    from torch._dynamo.utils import counters

    loop = loop_of(tmp_path, data, QUICK)
    losses_of(loop, 3)
    before = counters["stats"]["unique_graphs"]
    loop.evaluate()
    losses_of(loop, 3)
    assert counters["stats"]["unique_graphs"] == before


def test_fp8_learns_as_bf16_and_its_model_opens(tmp_path, data):
    if fault := fp8.fault(gpu(), ROW_TOKENS):
        pytest.skip(fault)
    bf16 = losses_of(loop_of(tmp_path / "bf16", data, QUICK))
    eight = losses_of(loop_of(tmp_path / "fp8", data, QUICK, precision="fp8"))
    assert eight != bf16
    assert eight == pytest.approx(bf16, rel=0.03)
    attempt = toy_attempt(tmp_path / "whole")
    train(config_of(precision="fp8"), QUICK, attempt, data, Group(0, 1, gpu()))
    opened = AutoModelForCausalLM.from_pretrained(attempt.path("model"), local_files_only=True)
    assert all(torch.isfinite(weight).all() for weight in opened.parameters())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_an_update_on_a_gpu_is_that_of_a_cpu(name):
    make = {"adamw": optimizer.adamw, "muon": optimizer.muon}[name]
    here, there = small_model("sdpa"), small_model("sdpa").to(gpu())
    ours, theirs = make(there, 1e-2, 0.1), make(here, 1e-2, 0.1)
    for step in range(3):
        torch.manual_seed(step)
        for mine, other in zip(there.parameters(), here.parameters(), strict=True):
            other.grad = torch.randn_like(other)
            mine.grad = other.grad.to(gpu())
        ours.step(1.0)
        theirs.step(1.0)
    for mine, other in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=1e-2, atol=2e-3)


def test_what_the_loader_prepares_is_pinned_and_the_same(tmp_path, data):
    loop = loop_of(tmp_path, data, PLAIN)
    with loop.loader:
        for step in range(4):
            batch = loop.loader.take(step)
            expected = loop.loader.prepare(step)
            for ours, theirs in zip(batch.micro_batches, expected.micro_batches, strict=True):
                for name, tensor in vars(ours.tensors).items():
                    assert tensor.is_pinned()
                    assert torch.equal(
                        tensor.to(gpu(), non_blocking=True).cpu(), getattr(theirs.tensors, name)
                    )


def test_two_runs_give_the_same_bits(tmp_path, data):
    files = []
    for name in ("one", "two"):
        attempt = toy_attempt(tmp_path / name)
        train(config_of(), QUICK, attempt, data, Group(0, 1, gpu()))
        files.append(sha256_of(attempt.path("model/model.safetensors")))
    assert files[0] == files[1]


def test_parts_of_a_step_memory_and_mfu_are_told(tmp_path, data):
    attempt = toy_attempt(tmp_path)
    train(config_of(), QUICK, attempt, data, Group(0, 1, gpu()))
    lines = JournalReader(attempt.storage, f"{attempt.folder}/journal").read()
    told = [line["values"] for line in lines if line["kind"] == "metrics" and "loss" in line["values"]][-1]
    assert {"forward_backward_seconds", "reduce_seconds", "update_seconds"} <= told.keys()
    assert 0 < told["gpu_memory_bytes"] <= told["gpu_peak_memory_bytes"]
    if peak_flops(torch.cuda.get_device_name(gpu())) is not None:
        assert 0 < told["mfu"] < 1


def test_a_profile_has_the_gpus_kernels(tmp_path, data):
    job = ProfileJob(toy_attempt(tmp_path), config_of(steps=40), QUICK, 3, None, PIECES, ROW_TOKENS)
    profile_here(job, data, "noise", Group(0, 1, gpu()))
    found = read(job.attempt)
    assert found.device == torch.cuda.get_device_name(gpu())
    assert found.kinds["matrix products"] > 0
    assert found.kinds["attention"] > 0


def test_a_distributed_checkpoint_is_written_while_the_gpu_goes_on(tmp_path):
    """By the process group of a training on GPUs: NCCL for tensors there, gloo for the writing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1, device_id=gpu()
    )
    try:
        weight = torch.randn(1024, 1024, device=gpu())
        kept = weight.clone()
        saving = dcp.async_save({"weight": weight}, checkpoint_id=str(tmp_path / "checkpoint"))
        weight.add_(1.0)
        saving.result()
        found = {"weight": torch.zeros_like(weight)}
        dcp.load(found, checkpoint_id=str(tmp_path / "checkpoint"))
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(found["weight"], kept)
