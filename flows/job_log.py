"""How far a run is, read from the lines that it prints where there is no terminal (`display.py` writes them).

A job's log is asked for at the same place as its status, by whoever may ask for that. The journals in the
store say the same with more digits, but mostly only the cluster reaches them.
"""

import re
from dataclasses import dataclass, field

from flows.display import MADE, MAKING, REUSED, RUN_PAGE, STAGE_FAILED, STAGE_STOPPED, WAITING

LINE = re.compile(r"^(\S| ) (\S+) +(.*)$")
FAULT = "error: "
BY_RAY = ("Running entrypoint for job ",)
"""How lines begin that Ray writes into a job's log."""
GOES_ON, IS_OVER = (MAKING, WAITING), (MADE, REUSED, STAGE_FAILED, STAGE_STOPPED)


@dataclass
class Progress:
    """A run as far as its log tells."""

    running: dict[str, str] = field(default_factory=dict)
    """Stage that is being made or waited for → what was told of it last."""
    finished: list[str] = field(default_factory=list)
    """Stages that were made or reused, in that order."""
    ended: str | None = None
    """The stage that failed or was stopped."""
    page: str | None = None
    """Where the run is to be seen in MLflow."""
    last: str = ""
    """The last line."""
    error: str | None = None
    """Of a run that failed, what it said of the fault last."""

    def stage(self) -> str:
        """What is made now, in a few words; empty before the first stage and after the last."""
        return "; ".join(f"{name} {told}".strip() for name, told in self.running.items())


def progress_of(log: str) -> Progress:
    """Read a log as it is, or the beginning of one."""
    found = Progress()
    for line in log.splitlines():
        if not line.strip() or line.startswith(BY_RAY):
            continue
        found.last = line.strip()
        if line.startswith(FAULT):
            found.error = line.removeprefix(FAULT)
        elif line.startswith(RUN_PAGE):
            found.page = line.removeprefix(RUN_PAGE)
        elif told := LINE.match(line):
            _take(found, *told.groups())
    return found


def _take(found: Progress, mark: str, stage: str, told: str) -> None:
    """One line about a stage. Whatever else a run prints has other marks, or speaks of no running stage."""
    if mark in GOES_ON:
        found.running[stage] = "" if mark == MAKING else told
    elif mark in IS_OVER:
        found.running.pop(stage, None)
        if mark in (MADE, REUSED):
            found.finished.append(stage)
        else:
            found.ended = stage
    elif mark == " " and stage in found.running:
        found.running[stage] = told
