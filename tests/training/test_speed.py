"""Figures of speed: parts of a step, MFU, and a profile of a few steps."""

import gzip
import json
import time
from pathlib import Path

import pytest
import torch

from flows.profiling import PARTS, PICTURE, long_enough, parts_of, picture, summary
from pipeline.compute_config import ComputeConfig
from pipeline.models.families import training_flops_per_token
from pipeline.models.peaks import DENSE_BF16_FLOPS, mfu, peak_flops
from pipeline.store import JournalReader
from pipeline.training.group import Group
from pipeline.training.profile import (
    TRACE,
    Operation,
    Profile,
    ProfileJob,
    kind_of,
    profile_here,
    read,
    shares,
)
from pipeline.training.speed import Speedometer, StepClock
from pipeline.training.synthetic import synthetic_data
from pipeline.training.worker import train
from tests.training.toys import toy_attempt, toy_config, toy_data


def test_a_clock_tells_the_mean_seconds_of_each_part():
    clock = StepClock(torch.device("cpu"))
    assert clock.seconds() == {}
    for _ in range(3):
        with clock.part("forward_backward"):
            time.sleep(0.02)
        for _ in range(2):
            with clock.part("reduce"):
                time.sleep(0.01)
        clock.end_step()
    found = clock.seconds()
    assert list(found) == ["forward_backward", "reduce"]
    assert 0.02 <= found["forward_backward"] < 0.2
    assert 0.02 <= found["reduce"] < 0.2


@pytest.mark.parametrize(
    ("name", "flops"),
    [
        ("NVIDIA H200", 989.4e12),
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756.5e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("Quadro P400", None),
    ],
)
def test_the_peak_of_a_device_is_found_by_its_name(name, flops):
    assert peak_flops(name) == flops


def test_names_that_hold_others_stand_first():
    names = list(DENSE_BF16_FLOPS)
    for number, name in enumerate(names):
        assert not any(name.startswith(f"{before} ") for before in names[:number])


def test_mfu_by_hand():
    """GPT-2 of 124M on one H200 at 250,000 tokens/s, rows of 1,024."""
    shape = toy_config(depth=12, width=768, heads=12, mlp_width=3072).shape()
    per_token = training_flops_per_token(shape, 50_304, 1024)
    weights = 12 * (4 * 768**2 + 3 * 768 * 3072 + 2 * 768) + 50_304 * 768
    assert per_token == 6 * weights + 6 * 12 * 768 * 1024
    assert mfu(250_000, per_token, 989.4e12) == pytest.approx(250_000 * per_token / 989.4e12)


def test_there_is_no_mfu_without_a_peak_and_one_for_all_workers_with_it():
    cpu = torch.device("cpu")
    assert "mfu" not in Speedometer.of(cpu, 2, 1e6, None).figures(1000)
    found = Speedometer.of(cpu, 2, 1e6, 1e10).figures(1000)
    assert found["mfu"] == pytest.approx(1000 * 1e6 / 2e10)
    assert 0 < found["memory_bytes"] <= found["peak_memory_bytes"] * 1.01


def test_a_training_tells_its_speed_its_memory_and_the_parts_of_a_step(tmp_path):
    attempt = toy_attempt(tmp_path)
    compute = ComputeConfig(compile=False, threads=1, peak_flops=1e12)
    train(toy_config(steps=5, prompts=()), compute, attempt, toy_data(tmp_path / "data"), Group.alone())
    lines = list(JournalReader(attempt.storage, f"{attempt.folder}/journal").read())
    told = [line["values"] for line in lines if line["kind"] == "metrics" and "loss" in line["values"]]
    last = told[-1]
    parts = ("loader_wait_seconds", "forward_backward_seconds", "reduce_seconds", "update_seconds")
    assert 0.5 * last["step_seconds"] < sum(last[part] for part in parts) <= 1.05 * last["step_seconds"]
    assert 0 < last["mfu"] < 1
    assert 0 < last["memory_bytes"] <= last["peak_memory_bytes"] * 1.01


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matrix products"),
        ("aten::_scaled_mm", "matrix products"),
        ("triton_tem_fused_flex_attention_3", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("triton_poi_fused_mul_silu_4", "compiled code"),
        ("ncclDevKernel_AllReduce_Sum_f32_RING_LL", "communication"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::baddbmm", "optimizer"),
        ("liger_cross_entropy_kernel", "loss"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("aten::embedding", "other"),
    ],
)
def test_operations_are_sorted_by_what_they_do(name, kind):
    assert kind_of(name) == kind


def test_shares_of_kinds_add_up():
    found = shares([Operation("aten::mm", "matrix products", 3.0, 1), Operation("x", "other", 1.0, 1)])
    assert found == {"matrix products": 0.75, "other": 0.25}


def test_a_short_training_is_made_long_enough_to_be_profiled():
    assert long_enough(toy_config(steps=4), 23).recipe().steps == 23
    assert long_enough(toy_config(steps=40), 23) == toy_config(steps=40)


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """Two steps of a toy on noise, in this process."""
    folder = tmp_path_factory.mktemp("profile")
    attempt = toy_attempt(folder)
    compute = ComputeConfig(compile=False, threads=1)
    job = ProfileJob(attempt, toy_config(), compute, 2, None, pieces=300, row_tokens=32)
    data = synthetic_data(folder / "data", pieces=300, row_tokens=32, rows=32, documents_per_row=3)
    profile_here(job, data, "noise", Group.alone())
    return read(attempt), attempt.path(TRACE)


def test_a_profile_tells_parts_and_operations_and_leaves_a_trace(profiled):
    found, trace = profiled
    assert [part for part in PARTS if f"{part}_seconds" in found.figures] == list(PARTS)
    assert sum(parts_of(found).values()) == pytest.approx(found.figures["step_seconds"], rel=0.05)
    assert sum(found.kinds.values()) == pytest.approx(1)
    assert found.kinds["matrix products"] > 0
    seconds = [operation.seconds for operation in found.operations]
    assert seconds == sorted(seconds, reverse=True)
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = {event.get("name") for event in events}
    assert {"forward_backward", "update", "loader_wait"} <= names


def test_the_page_of_a_profile_has_its_figures_and_a_picture(profiled):
    found, _ = profiled
    page = summary("toy", found)
    assert f"![parts and kinds of work]({PICTURE})" in page
    assert all(part in page for part in parts_of(found))
    assert f"`{found.operations[0].name[:80]}`" in page
    assert "not known: no peak for this device" in page
    assert picture(found).startswith(b"\x89PNG")
