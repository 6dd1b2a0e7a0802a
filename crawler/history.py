"""The rounds of a crawl so far: what each was to do, and how it ended in each partition."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from crawler.turns import FRONTIERS, HANDED
from pipeline.store import File, ShardRecord


@dataclass(frozen=True)
class Plan:
    """What a round is to do; written down before it begins."""

    number: int
    partitions: int
    layout: int
    """The round in which the partitions came to be as they are."""
    settled: bool = False
    seconds: float | None = None
    max_pages: dict[str, int] = field(default_factory=dict)
    """For each partition that takes part: its pages after this round at most, all rounds counted."""
    regroups: bool = False
    """The round crawls nothing, but makes the partitions of this layout from those before."""

    @property
    def step(self) -> str:
        return f"round-{self.number:05d}"


@dataclass(frozen=True)
class Limits:
    """Of the whole crawl."""

    max_pages: int
    max_seconds: float | None
    max_depth: int | None
    round_seconds: float


@dataclass
class History:
    """The rounds so far: what each was to do, and how it ended in each partition."""

    rounds: list[tuple[Plan, dict[str, ShardRecord]]] = field(default_factory=list)

    @property
    def layout(self) -> list[tuple[Plan, dict[str, ShardRecord]]]:
        """The rounds since the partitions are as they are."""
        if not self.rounds:
            return []
        return [each for each in self.rounds if each[0].layout == self.rounds[-1][0].layout]

    @cached_property
    def last(self) -> dict[str, tuple[int, ShardRecord]]:
        """Partition → the last round it took part in, and its record of it."""
        return {
            name: (plan.number, record) for plan, records in self.layout for name, record in records.items()
        }

    def add(self, plan: Plan, records: dict[str, ShardRecord]) -> None:
        self.rounds.append((plan, records))
        self.__dict__.pop("last", None)

    def total(self, name: str) -> int:
        return sum(record.counts.get(name, 0) for _, record in self.last.values())

    def incoming(self, partition: str) -> list[File]:
        """What was found for a partition and it has not read yet."""
        name = f"{HANDED}/{partition}.jsonl"
        return [record.files[name] for record in self._unread(partition) if name in record.files]

    def handed(self, kind: str, partition: str) -> int:
        """How much of it is of a kind: `handed` are new to it, `seeds` those that seeds lead to."""
        return sum(record.counts.get(f"{kind}.{partition}", 0) for record in self._unread(partition))

    def _unread(self, partition: str) -> Iterator[ShardRecord]:
        since = self.last[partition][0] if partition in self.last else -1
        for plan, records in self.layout:
            if plan.number >= since:
                yield from records.values()

    def seconds(self) -> float:
        """Of crawling, in all rounds: those of the slowest partition of each."""
        total = 0.0
        before: dict[str, float] = {}
        for plan, records in self.rounds:
            if plan.regroups:
                before = dict.fromkeys(records, max(before.values(), default=0.0))
                continue
            now = {name: record.counts.get("milliseconds", 0) / 1000 for name, record in records.items()}
            total += max((now[name] - before.get(name, 0.0) for name in now), default=0.0)
            before |= now
        return total

    def files(self, prefix: str) -> dict[str, File]:
        return {
            name: file
            for _, records in self.rounds
            for record in records.values()
            for name, file in record.files.items()
            if name.startswith(prefix)
        }

    def frontiers(self) -> dict[str, File]:
        """Partition → its frontier as it stood at its last round's end."""
        return {
            name: file
            for _, records in self.layout
            for name, record in sorted(records.items())
            for path, file in record.files.items()
            if path.startswith(FRONTIERS)
        }

    def any_lost(self) -> bool:
        return any(record.lost is not None for _, records in self.rounds for record in records.values())
