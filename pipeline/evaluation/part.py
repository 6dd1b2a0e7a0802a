"""A part of an evaluation: what one Ray task is given and writes, and how the results come together again."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.shards import ShardOutput, files_of
from pipeline.store import Attempt, File, ShardRecord

Given = TypeVar("Given")
RESULTS = "parts"


@dataclass(frozen=True)
class PartOf(Generic[Given]):
    """What one task is given."""

    attempt: Attempt
    inputs: Given
    """All that is evaluated, and how."""
    name: str
    """What is measured, with its language if it has one (`likelihood`, `bias-en`), or the file that is
    searched."""
    files: Mapping[str, File] = field(default_factory=dict)
    """What earlier steps wrote, by logical name."""
    first: int = 0
    last: int = 0
    """The pieces or questions that this part takes: first to last - 1."""

    def path(self, name: str) -> Path:
        """A local file with what an earlier step wrote."""
        file = self.files[name]
        return self.attempt.storage.download(f"{self.attempt.base}/{file.path}", file.sha256)

    def write(self, output: ShardOutput, result: Any) -> None:
        path = output.path(f"{RESULTS}/{self.name}/{self.first:06}.json")
        path.write_text(json.dumps(result, ensure_ascii=False))


def results(attempt: Attempt, records: Iterable[ShardRecord]) -> dict[str, list[Any]]:
    """What parts wrote, by their name: a list, one for each of its parts, in their order."""
    found: dict[str, list[Any]] = {}
    for name, file in sorted(files_of(list(records)).items()):
        if name.startswith(f"{RESULTS}/"):
            path = attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)
            found.setdefault(name.split("/")[1], []).append(json.loads(path.read_bytes()))
    return found
