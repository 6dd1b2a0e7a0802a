"""Functions that a model writes: what of its answer is the program, and whether it passes its checks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.tasks.items import Item
from pipeline.evaluation.tasks.measures import PerItem
from pipeline.evaluation.tasks.sandbox import SandboxConfig, run_programs

FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
TOP_LEVEL = re.compile(r"(?:def|import|from|class|@|async)\b|@")
BASELINE_BODY = "def {name}({arguments}):\n    return {first}"


def signature(row: Mapping[str, Any]) -> str:
    return f"{row['name']}({row['arguments']})"


def program_of(answer: str) -> str:
    """The first fenced block, or else the text from its first definition or import on, as far as it is code.

    Code ends before a line that begins at the margin and is neither a definition nor an import: a
    model that was not taught to stop goes on with text.
    """
    if fenced := FENCE.search(answer):
        return fenced.group(1)
    kept: list[str] = []
    for line in answer.splitlines():
        at_margin = bool(line[:1].strip())
        if at_margin and not TOP_LEVEL.match(line):
            if kept:
                break
            continue
        if kept or at_margin:
            kept.append(line)
    return "\n".join(kept)


def passed(items: Sequence[Item], answers: Sequence[str], sandbox: SandboxConfig) -> PerItem:
    """pass_at_1: does the one program that was written pass all checks (Chen et al., 2021,
    arXiv:2107.03374)? defined: does it define the function that was asked for at all?

    Raises SandboxError.
    """
    programs = [program_of(answer) for answer in answers]
    defined = [
        re.search(rf"^def\s+{re.escape(item.row['name'])}\b", program, re.MULTILINE) is not None
        for item, program in zip(items, programs, strict=True)
    ]
    tried = [
        (program, "\n".join(item.row["checks"]))
        for item, program, worth in zip(items, programs, defined, strict=True)
        if worth
    ]
    verdicts = iter(run_programs(tried, sandbox))
    return {
        "pass_at_1": [float(worth and next(verdicts).passed) for worth in defined],
        "defined": [float(worth) for worth in defined],
    }
