"""Two small stages for the store's tests: grain is ground, flour is baked."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import Config
from pipeline.store import Artifact, Attempt, Made, Store


class Flour(Artifact):
    """Ground grain."""

    stage, role = "grind", "flour"


class Bread(Artifact):
    """Baked flour."""

    stage, role = "bake", "bread"


class GrindConfig(Config):
    fineness: int = 3
    stones: int | None = None
    """Derived from the fineness."""

    def derived(self) -> Mapping[str, Any]:
        return {"stones": 2 * self.fineness}


def grind(store: Store, config: GrindConfig, text: str = "flour") -> Flour:
    def build(attempt: Attempt) -> Made:
        path = attempt.path("sacks/flour.txt")
        path.write_text(text)
        return Made(files={"sacks/flour.txt": attempt.publish(path)}, counts={"sacks": 1})

    return store.make(Flour, config, {}, build)


def bake(store: Store, flour: Flour) -> Bread:
    def build(attempt: Attempt) -> Made:
        path = attempt.path("loaf.txt")
        path.write_text(f"bread of {flour.path('sacks/flour.txt').read_text()}")
        return Made(files={"loaf.txt": attempt.publish(path)})

    return store.make(Bread, Config(), {"flour": flour}, build)
