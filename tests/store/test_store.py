import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.store import Artifact, Attempt, Made, PlanningStore, Storage, Store, Work


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


def test_what_was_made_is_found_again_and_not_made_twice(store: Store) -> None:
    first = grind(store, GrindConfig(), "the first")
    second = grind(store, GrindConfig(), "the second")
    assert first.key == second.key
    assert second.path("sacks/flour.txt").read_text() == "the first"
    assert second.folder("sacks").joinpath("flour.txt").read_text() == "the first"


def test_a_derived_value_set_by_hand_gives_the_same_key(store: Store) -> None:
    assert GrindConfig().identity() == GrindConfig(stones=6).identity() == {}
    assert GrindConfig(stones=7).identity() == {"stones": 7}
    assert GrindConfig(fineness=4).identity() == GrindConfig(fineness=4, stones=8).identity()


def test_another_configuration_or_another_input_gives_another_key(store: Store) -> None:
    def bake(flour: Flour) -> Bread:
        return store.make(Bread, Config(), {"flour": flour}, lambda attempt: Made(files={}))

    coarse, fine = grind(store, GrindConfig()), grind(store, GrindConfig(fineness=9))
    assert coarse.key != fine.key
    bread = bake(coarse)
    assert bread.key != bake(fine).key
    assert bread.record.inputs["flour"].digest == coarse.record.digest


def test_a_failed_attempt_leaves_no_artifact_and_the_next_one_makes_it(store: Store) -> None:
    def fail(attempt: Attempt) -> Made:
        raise ValueError("the wind dropped")

    with pytest.raises(ValueError, match="wind"):
        store.make(Flour, GrindConfig(), {}, fail)
    assert list(store.records()) == []
    assert grind(store, GrindConfig()).exists()


def test_a_planning_store_knows_the_keys_and_makes_nothing(store: Store, tmp_path: Path) -> None:
    planned = grind(PlanningStore(str(tmp_path / "elsewhere")), GrindConfig())
    assert planned.key == grind(store, GrindConfig()).key
    assert not (tmp_path / "elsewhere").exists()


def test_in_a_plan_a_stage_estimates_from_what_its_inputs_have_or_are_expected_to_have(store: Store) -> None:
    def plan() -> tuple[Flour, Bread]:
        planning = PlanningStore(store.storage.root)
        flour = planning.make(Flour, GrindConfig(), {}, never, work=lambda: {"sacks": 9.0})
        loaves = {"loaves": flour.config()["stones"] * flour.counts()["sacks"]}
        return flour, planning.make(Bread, GrindConfig(), {"flour": flour}, never, work=lambda: loaves)

    def never(attempt: Attempt) -> Made:
        raise AssertionError

    assert plan()[1].counts() == {"loaves": 54.0}
    grind(store, GrindConfig())
    flour, bread = plan()
    assert (flour.counts(), bread.counts()) == ({"sacks": 1}, {"loaves": 6})


def test_an_incomplete_artifact_is_never_reused_silently(store: Store) -> None:
    def build(attempt: Attempt) -> Made:
        return Made(files={}, incomplete=True)

    store.make(Flour, GrindConfig(), {}, build)
    with pytest.raises(InputError, match="lost shards"):
        store.make(Flour, GrindConfig(), {}, build)


@pytest.mark.parametrize("root", ["folder", "memory://moinho-test"])
def test_create_never_replaces_what_is_there(root: str, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / root) if root == "folder" else root)
    assert storage.create("a/b.json", b"first")
    assert not storage.create("a/b.json", b"second")
    assert storage.read("a/b.json") == b"first"
    assert storage.list("a") == ["b.json"]


def test_a_store_that_is_not_on_this_machine_is_read_through_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    store = Store("memory://moinho-remote")
    flour = grind(store, GrindConfig(fineness=5), "far away")
    assert flour.path("sacks/flour.txt").read_text() == "far away"
    assert flour.folder("sacks").joinpath("flour.txt").read_text() == "far away"


def test_names_point_to_keys_and_can_move(store: Store) -> None:
    coarse, fine = grind(store, GrindConfig()), grind(store, GrindConfig(fineness=9))
    store.name("farm/flour", coarse)
    store.name("farm/flour", fine)
    assert store.named() == {"farm/flour": ("grind", fine.key)}


def _grind_slowly(root: str, made: str) -> None:
    def build(attempt: Attempt) -> Made:
        Path(made, attempt.id).touch()
        time.sleep(0.2)
        return Made(files={})

    Store(root).make(Flour, GrindConfig(), {}, build)


def test_racers_make_a_stage_once(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    spawn = multiprocessing.get_context("fork")
    racers = [
        spawn.Process(target=_grind_slowly, args=(str(tmp_path / "store"), str(made))) for _ in range(8)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
    assert [racer.exitcode for racer in racers] == [0] * 8
    assert len(list(made.iterdir())) == 1


def _grind_for_ever(root: str) -> None:
    Store(root).make(Flour, GrindConfig(), {}, lambda attempt: time.sleep(600) or Made(files={}))


def test_a_claim_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    holder = multiprocessing.get_context("fork").Process(
        target=_grind_for_ever, args=(str(tmp_path / "store"),)
    )
    holder.start()
    time.sleep(0.5)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    start = time.monotonic()
    grind(Store(str(tmp_path / "store")), GrindConfig())
    assert time.monotonic() - start < 2


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        grind(Store(str(tmp_path / "store")), GrindConfig())


def test_listeners_hear_what_happens(store: Store) -> None:
    heard: list[str] = []

    class Ear:
        def planned(self, artifact: Artifact, work: Work) -> None:
            heard.append("planned")

        def reused(self, artifact: Artifact) -> None:
            heard.append("reused")

        def waiting(self, artifact: Artifact) -> None:
            heard.append("waiting")

        def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
            heard.append(f"started with {config['stones']} stones")

        def finished(self, artifact: Artifact) -> None:
            heard.append("finished")

        def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
            heard.append(f"failed: {error}")

    store.listeners.append(Ear())
    grind(store, GrindConfig())
    grind(store, GrindConfig())
    assert heard == ["started with 6 stones", "finished", "reused"]
