"""How fast a training goes: seconds of each part of a step, tokens per second, MFU, memory."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pipeline.models.peaks import mfu, peak_flops
from pipeline.training.memory import memory_now

STEPS_OF_SPEED = 20
"""Over so many of the last steps figures of speed are the mean."""

Mark = float | torch.cuda.Event


class StepClock:
    """Seconds of each part of the last steps.

    On a CPU by the clock. On a GPU by events in its stream, which are read once they have passed, so that
    the host never waits for the device in order to measure. Each part is a range of that name in a trace.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._parts: list[tuple[str, Mark, Mark]] = []
        self._waiting: deque[list[tuple[str, Mark, Mark]]] = deque(maxlen=2 * STEPS_OF_SPEED)
        self._recent: deque[dict[str, float]] = deque(maxlen=STEPS_OF_SPEED)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done inside belongs to this part of the step."""
        with torch.profiler.record_function(name):
            start = self._mark()
            yield
            self._parts.append((name, start, self._mark()))

    def end_step(self) -> None:
        self._waiting.append(self._parts)
        self._parts = []

    def seconds(self) -> dict[str, float]:
        """Mean of the last steps, by part; empty before the first step has passed on the device."""
        while self._waiting and all(_has_passed(end) for _, _, end in self._waiting[0]):
            step: dict[str, float] = {}
            for name, start, end in self._waiting.popleft():
                step[name] = step.get(name, 0.0) + _between(start, end)
            self._recent.append(step)
        names = self._recent[-1] if self._recent else ()
        return {name: sum(step.get(name, 0.0) for step in self._recent) / len(self._recent) for name in names}

    def _mark(self) -> Mark:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _has_passed(mark: Mark) -> bool:
    return isinstance(mark, float) or bool(mark.query())  # type: ignore[no-untyped-call]


def _between(start: Mark, end: Mark) -> float:
    if isinstance(start, float) or isinstance(end, float):
        assert isinstance(start, float)
        assert isinstance(end, float)
        return end - start
    return float(start.elapsed_time(end)) / 1e3


@dataclass(frozen=True)
class Speedometer:
    """What turns tokens per second into the figures that are told."""

    device: torch.device
    flops_per_token: float
    """Of forward and backward, attention counted: families.training_flops_per_token."""
    peak: float | None
    """FLOP/s of all devices of the group together; None if it is not known, and there is no MFU."""

    @classmethod
    def of(
        cls, device: torch.device, workers: int, flops_per_token: float, given_peak: float | None
    ) -> "Speedometer":
        """`given_peak`: FLOP/s of one device, in place of the one from the table."""
        each = given_peak
        if each is None and device.type == "cuda":
            each = peak_flops(torch.cuda.get_device_name(device))
        return cls(device, flops_per_token, None if each is None else each * workers)

    def figures(self, tokens_per_second: float) -> dict[str, float]:
        """Tokens per second of the group, MFU where there is a peak, and this process's memory in bytes."""
        found = {"tokens_per_second": tokens_per_second}
        if self.peak is not None:
            found["mfu"] = mfu(tokens_per_second, self.flops_per_token, self.peak)
        return found | memory_now(self.device)
