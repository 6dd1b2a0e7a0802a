"""The machine that this process runs on: its memory, that of its GPUs, and what its CPU is quick at."""

import functools
import os
import subprocess
from pathlib import Path
from typing import Literal

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""What a container may take, in the second and the first version of cgroups."""
SMI_SECONDS = 20
CPU_INFO = Path("/proc/cpuinfo")
QUICK_BF16 = (
    frozenset({"avx512bw", "avx512vl", "avx512dq"}),
    frozenset({"avx_ne_convert"}),
    frozenset({"bf16"}),
)
"""Instructions, by Linux's names, with any of which torch (oneDNN) multiplies bf16 matrices in vectors."""


def machine_memory_gb() -> float:
    """All memory of the machine, or what the container that we are in may have of it, in GB (1e9 bytes)."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, CGROUP_LIMITS):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(found) / 1e9


def gpu_memory_gb() -> float | None:
    """Of the smallest GPU that this process may use, in GB; None if the driver does not tell."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        command.append(f"--id={visible}")
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)
        return min(int(line) for line in told.stdout.split()) * 2**20 / 1e9
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


@functools.cache
def is_quick_at_bf16() -> bool:
    """Whether bf16 matrix products take this CPU no longer than those in fp32. Without the instructions for
    it, as on most laptops, torch multiplies number by number: 1.2 GFLOP/s where fp32 gave 80 (AVX2, a core).
    """
    try:
        told = CPU_INFO.read_text()
    except OSError:  # macOS has none, nor a quick way
        return False
    names = ("flags", "Features")
    lines = [line for line in told.splitlines() if line.startswith(names)]
    return bool(lines) and all(any(each <= set(line.split()) for each in QUICK_BF16) for line in lines)


def products(precision: str, device: str, quick: bool | None = None) -> Literal["bf16", "fp32"]:
    """What matrix products are computed in, beside those in 8 bits: as asked for, or in fp32 where a CPU is
    not `quick` at bf16 (default: this machine's)."""
    if device == "cpu" and not (is_quick_at_bf16() if quick is None else quick):
        return "fp32"
    return "fp32" if precision == "fp32" else "bf16"
