"""What is reused although today's code or libraries are others than those that made it.

Code is not hashed into keys, so this is told in place of remaking everything at each change.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.store.records import Record, commit, versions

CHANGED = "+"
"""Ends a commit whose tree had changes: what they were is not known, so it equals no other."""


@dataclass(frozen=True)
class Difference:
    """One field that the records of some stages have otherwise than today."""

    field: str
    """`commit`, `python`, `platform` or the name of a package."""
    now: str | None
    then: dict[str, list[str]]
    """Value in the record → stages that were made with it."""

    def line(self) -> str:
        made = "; ".join(f"{value} made {', '.join(stages)}" for value, stages in self.then.items())
        return f"{self.field}: now {self.now or NOT_THERE}; {made}"


NOT_THERE = "none"


def differences(records: Iterable[Record]) -> list[Difference]:
    """Field by field, the commit first; nothing for what is as it was."""
    found: dict[str, Difference] = {}
    today = {"commit": commit(), **versions()}
    for record in records:
        then = {"commit": record.commit, **record.versions}
        for field in [*today, *(name for name in then if name not in today)]:
            now, before = today.get(field), then.get(field)
            if now == before and not (field == "commit" and now is not None and now.endswith(CHANGED)):
                continue
            difference = found.setdefault(field, Difference(field, now, {}))
            difference.then.setdefault(before or NOT_THERE, []).append(record.stage)
    return sorted(found.values(), key=lambda difference: difference.field != "commit")
