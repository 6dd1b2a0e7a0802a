"""The memory that a training worker has, and took at most."""

import resource
import sys

import psutil
import torch

from pipeline.training.group import Group

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""What getrusage counts resident memory in."""


def peak_memory(group: Group) -> dict[str, int]:
    """Bytes that the largest worker of the group had resident at most so far, and allocated on its GPU
    if it has one. The compiler that torch.compile starts is a process of its own and not counted."""
    peak = {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES}
    if group.device.type == "cuda":
        peak["gpu_peak_memory_bytes"] = torch.cuda.max_memory_allocated(group.device)
    everyone = group.gather(peak)
    return {name: max(each[name] for each in everyone) for name in peak}


def memory_now(device: torch.device) -> dict[str, float]:
    """Bytes that this process has, and had at most: resident, and allocated on its GPU if it has one."""
    found = {
        "memory_bytes": float(psutil.Process().memory_info().rss),
        "peak_memory_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES),
    }
    if device.type == "cuda":
        found["gpu_memory_bytes"] = float(torch.cuda.memory_allocated(device))
        found["gpu_peak_memory_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return found
