"""One thing that grows with the corpus or the cluster, beside what it may be at most."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["bytes", "seconds", "count", "share"]
DAY, HOUR = 86_400.0, 3_600.0


@dataclass(frozen=True)
class Limit:
    """One thing that may break at one size."""

    stage: str
    what: str
    found: float
    most: float
    unit: Unit
    module: str
    done: str
    ends: bool = False
    """What passes it ends the run, unless something is done; otherwise it only takes long, or lags behind."""

    @property
    def breaks(self) -> bool:
        return self.found > self.most
