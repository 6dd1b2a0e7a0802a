"""Stages that do not hang on each other are made side by side; what is made is the same."""

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.store import Artifact, Attempt, Made, OverlappingStore, Store
from tests.store.stages import Bread, Flour, GrindConfig, bake, grind

PATIENCE_SECONDS = 20


class Listener:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __getattr__(self, event: str) -> Callable[..., None]:
        return lambda artifact, *_: self.told.append((event, artifact.stage))


def mill(store: Store, fineness: int, build: Callable[[Attempt], Made]) -> Flour:
    return store.make(Flour, GrindConfig(fineness=fineness), {}, build)


def made(attempt: Attempt) -> Made:
    return Made(files={})


@pytest.mark.parametrize("root", ["folder"], indirect=True)
def test_stages_that_do_not_need_each_other_are_at_work_at_once(root: str) -> None:
    store, together = OverlappingStore(root), threading.Barrier(3)

    def meet(attempt: Attempt) -> Made:
        together.wait(PATIENCE_SECONDS)
        return Made(files={})

    found = [mill(store, number, meet) for number in (1, 2)]
    together.wait(PATIENCE_SECONDS)
    store.settle()
    assert all(flour.exists() for flour in found)


@pytest.mark.parametrize("root", ["folder"], indirect=True)
def test_a_stage_begins_when_what_it_is_made_from_is_there(root: str) -> None:
    listener, ground = Listener(), threading.Event()
    store = OverlappingStore(root, [listener])

    def slowly(attempt: Attempt) -> Made:
        ground.wait(PATIENCE_SECONDS)
        return Made(files={}, counts={"sacks": 3})

    flour = mill(store, 1, slowly)
    bread = store.make(Bread, GrindConfig(fineness=2), {"flour": flour}, made)
    assert flour.config()["fineness"] == 1
    time.sleep(0.1)
    assert [event for event, _ in listener.told] == ["started"]
    ground.set()
    assert flour.counts()["sacks"] == 3
    assert bread.record.inputs["flour"].key == flour.key
    store.settle()
    assert listener.told == [
        (event, stage) for stage in (Flour.stage, Bread.stage) for event in ("started", "finished")
    ]


def test_what_is_made_is_what_one_after_the_other_makes(root: str) -> None:
    def bread(store: Store) -> tuple[str, str]:
        found = bake(store, grind(store, GrindConfig()))
        store.settle()
        return found.key, found.record.digest

    beside = OverlappingStore(f"{root}/beside")
    first = bread(beside)
    assert first == bread(Store(f"{root}/after"))
    found = bake(beside, grind(beside, GrindConfig()))
    assert found.pending is None, "what is there already is found at once"


@pytest.mark.parametrize("root", ["folder"], indirect=True)
def test_a_stage_that_fails_ends_what_hangs_on_it_and_no_others(root: str) -> None:
    listener, failed = Listener(), threading.Event()
    store = OverlappingStore(root, [listener])

    def fail(attempt: Attempt) -> Made:
        raise ValueError("the wind dropped")

    def after(attempt: Attempt) -> Made:
        failed.wait(PATIENCE_SECONDS)
        return Made(files={})

    flour, other = mill(store, 1, fail), mill(store, 2, after)
    bread = store.make(Bread, GrindConfig(), {"flour": flour}, made)
    with pytest.raises(ValueError, match="wind"):
        _ = bread.record
    failed.set()
    with pytest.raises(ValueError, match="wind"):
        store.settle()
    assert other.exists()
    assert Bread.stage not in {stage for _, stage in listener.told}
    again = mill(OverlappingStore(root), 1, made)
    assert again.exists()


@pytest.mark.parametrize("root", ["folder"], indirect=True)
def test_the_same_stage_asked_for_twice_is_made_once(root: str) -> None:
    store, times = OverlappingStore(root), []

    def count(attempt: Attempt) -> Made:
        times.append(attempt.id)
        return Made(files={})

    found: list[Any] = [mill(store, 1, count) for _ in range(4)]
    store.settle()
    assert len({flour.record.attempt for flour in found}) == len(times) == 1


@pytest.mark.parametrize("root", ["folder"], indirect=True)
def test_another_process_is_given_an_artifact_without_the_waiting(root: str) -> None:
    flour = mill(OverlappingStore(root), 1, made)
    assert flour.exists()
    copy: Artifact = pickle.loads(pickle.dumps(flour))
    assert copy.record == flour.record
