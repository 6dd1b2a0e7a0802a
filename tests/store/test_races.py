"""Eight processes race for one stage, forty times: one record, the same for all, nobody waits for ever."""

import multiprocessing
import os
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from pipeline.store import Store
from pipeline.store.verify import verify
from tests.store.racing import Result, hold, race

RACERS, TRIALS = 8, 40
SECONDS = 240
WHERE = pytest.mark.parametrize(
    "root", ["folder", pytest.param("s3", marks=pytest.mark.everything)], indirect=True
)


def run_races(root: str, folder: Path, apart: bool = False, held: bool = False) -> list[list[Result]]:
    """The racers' results by trial. With `held`, a process that began the stage is killed in mid-race."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.store.racing"])
    # The fork server keeps the environment that it was started with.
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    start, results = context.Barrier(RACERS + 1), context.Queue()
    racers = [
        context.Process(target=race, args=(root, environment, apart, TRIALS, start, results), daemon=True)
        for _ in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    chance, found = random.Random(0), defaultdict(list)
    deadline = time.monotonic() + SECONDS
    for trial in range(TRIALS):
        holder = None
        if held:
            mark = folder / f"held-{trial}"
            holder = context.Process(target=hold, args=(root, environment, trial, str(mark)), daemon=True)
            holder.start()
            while not mark.exists():
                assert time.monotonic() < deadline
                time.sleep(0.005)
        start.wait(60)
        if holder is not None:
            time.sleep(chance.uniform(0, 0.05))
            holder.kill()
            holder.join()
        for _ in range(RACERS):
            result = results.get(timeout=max(1.0, deadline - time.monotonic()))
            found[result.trial].append(result)
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    return [found[trial] for trial in range(TRIALS)]


@pytest.mark.timeout(SECONDS + 60)
@WHERE
@pytest.mark.parametrize("held", [False, True], ids=["free", "killed-holder"])
def test_racers_on_one_machine_make_a_stage_once(root: str, tmp_path: Path, held: bool) -> None:
    for results in run_races(root, tmp_path, held=held):
        assert sum(result.built for result in results) == 1
        assert len({result.attempt for result in results}) == 1
        assert {result.content for result in results} == {results[0].attempt}
    assert verify(Store(root)).faults == []


@pytest.mark.timeout(SECONDS + 60)
@WHERE
def test_racers_on_several_machines_publish_a_stage_once(root: str, tmp_path: Path) -> None:
    built = 0
    for results in run_races(root, tmp_path, apart=True):
        built += sum(result.built for result in results)
        assert len({result.attempt for result in results}) == 1
        assert {result.content for result in results} == {results[0].attempt}
    assert built > TRIALS, "they never raced"
    found = verify(Store(root))
    assert (found.faults, found.artifacts) == ([], TRIALS)
