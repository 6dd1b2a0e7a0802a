from pathlib import Path

from flows.inspection import listing
from pipeline.config import Config
from pipeline.store import Artifact, Made, Record, Store


class Grain(Artifact):
    stage, role = "harvest", "grain"


class Flour(Artifact):
    stage, role = "grind", "flour"


class Bread(Artifact):
    stage, role = "bake", "bread"


def made_at(artifact: Artifact, started: str) -> None:
    """Let the record say that the artifact was made then."""
    path = Path(artifact.storage.full(f"{artifact.base}/artifact.json"))
    record = Record.model_validate_json(path.read_bytes())
    path.write_text(record.model_copy(update={"started": started}).model_dump_json())


def test_nothing_is_listed_before_what_it_was_made_from_whatever_the_clock_said(store: Store) -> None:
    grain = store.make(Grain, Config(), {}, lambda attempt: Made({}))
    flour = store.make(Flour, Config(), {"grain": grain}, lambda attempt: Made({}))
    bread = store.make(Bread, Config(), {"flour": flour}, lambda attempt: Made({}))
    assert [row.stage for row in listing(store)] == ["harvest", "grind", "bake"]
    made_at(grain, "2026-02-01T00:00:00+00:00")
    made_at(flour, "2026-01-01T00:00:00+00:00")
    made_at(bread, "2026-03-01T00:00:00+00:00")
    assert [row.stage for row in listing(store)] == ["harvest", "grind", "bake"]
