"""What a model is asked: questions with their right answers, from JSON lines in data/."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parent / "data"

Language = Literal["en", "pt"]


@dataclass(frozen=True)
class Item:
    """One question."""

    id: str
    question: str
    """All that the model is told, but for the examples."""
    answers: tuple[str, ...]
    """What is right. The first is written where the item is an example of others."""
    choices: tuple[str, ...] = ()
    """Among which the likeliest is taken; empty where the model writes its answer."""
    label: str = ""
    """What stands before the answer where the prompt is plain text."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """As it stands in the file, for measures and baselines."""


@dataclass(frozen=True)
class Items:
    """Those that are scored, and those that are shown as examples. None is in both."""

    scored: tuple[Item, ...]
    examples: tuple[Item, ...]


def read_rows(name: str, use: Literal["score", "example"]) -> Iterator[dict[str, Any]]:
    """The rows of data/`name`.jsonl that have this use, in the file's order."""
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            if row["use"] == use:
                yield row
