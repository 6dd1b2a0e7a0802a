"""What a machine is found to have."""

from pathlib import Path

import pytest
import torch

from pipeline import hardware
from pipeline.hardware import is_quick_at_bf16, products


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a CPU is told of, in this test alone."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(hardware, "CPU_INFO", path)
    monkeypatch.setattr(hardware, "is_quick_at_bf16", is_quick_at_bf16.__wrapped__)
    return path


def test_it_is_as_quick_at_bf16_as_torch_finds() -> None:
    assert is_quick_at_bf16() == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("flags\t: fma avx avx2\n", "fp32"),
        ("flags\t: avx2 avx512f avx512bw avx512vl avx512dq\n" * 2, "bf16"),
        ("flags\t: avx2 avx512f avx512bw avx512vl avx512dq\nflags\t: avx2\n", "fp32"),
        ("flags\t: avx2 avx_ne_convert\n", "bf16"),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("Features\t: fp asimd\n", "fp32"),
        ("", "fp32"),
    ],
)
def test_a_cpu_without_instructions_for_bf16_computes_in_fp32(told: Path, lines: str, found: str) -> None:
    told.write_text(lines)
    assert products("bf16", "cpu") == found


def test_where_nothing_is_told_of_the_cpu_it_is_fp32(told: Path) -> None:
    assert products("bf16", "cpu") == "fp32"


def test_what_was_asked_for_counts_where_the_device_has_it() -> None:
    assert products("fp32", "cpu", quick=True) == "fp32"
    assert products("bf16", "cuda", quick=False) == "bf16"
    assert products("fp8", "cuda") == "bf16"
