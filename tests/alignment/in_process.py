"""Shards of a stage one after another in this process, where a test is not about Ray."""

from collections.abc import Mapping
from typing import Any

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.shards import ShardFunction, run_shard
from pipeline.store import Attempt, ShardRecord


class InProcess(Compute):
    """As `Compute`, without a cluster. `stop_after`: like a kill, it ends after so many shards."""

    def __init__(self, stop_after: int | None = None, **settings: Any) -> None:
        super().__init__(ComputeConfig(**settings))
        self.stop_after = stop_after
        self.ran: list[str] = []

    def gpus(self) -> int:
        return 0

    def map_shards(
        self, attempt: Attempt, step: str, shards: Mapping[str, Any], function: ShardFunction, **_: Any
    ) -> list[ShardRecord]:
        records = []
        for identity, payload in shards.items():
            found = attempt.finished_shard(step, identity)
            if found is None:
                if self.stop_after == len(self.ran):
                    raise KeyboardInterrupt
                found = run_shard(attempt, step, identity, payload, function)
                self.ran.append(f"{step}/{identity}")
            records.append(found)
        return records
