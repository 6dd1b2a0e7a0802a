"""The memory of the machine that this process runs on, and of its GPUs."""

import os
import subprocess
from pathlib import Path

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""What a container may take, in the second and the first version of cgroups."""
SMI_SECONDS = 20


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
