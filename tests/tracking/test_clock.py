"""A clock that is set back, between two runs and in the middle of one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.listing import listing
from pipeline.store import Store
from tests.machine import Clock
from tests.tracking import driver
from tests.tracking.recorded import has_metrics, recorded, wait_for

DRIVER = [sys.executable, driver.__file__]
A_MONTH = 30 * 86_400


def test_a_clock_set_back_in_the_middle_turns_nothing_around(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, calls = time.time, iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: clock() - 60 * next(calls))
    assert driver.run(store.storage.root, None, timeout_seconds=300) is None
    monkeypatch.undo()

    found = recorded(store)
    found.check_sound()
    (flow,) = found.flows()
    stages = found.stages(flow)
    assert flow.info.start_time <= stages["clean"].info.start_time <= stages["clean"].info.end_time
    assert stages["clean"].info.end_time <= stages["pretrain"].info.start_time
    assert stages["pretrain"].info.end_time <= flow.info.end_time
    assert found.steps(stages["pretrain"], "loss") == list(range(driver.STEPS))


@pytest.mark.everything
def test_a_run_after_the_clock_was_set_back_goes_on_where_the_killed_one_was(
    store: Store, tmp_path: Path
) -> None:
    root, clock = store.storage.root, Clock(tmp_path / "clock")
    killed = subprocess.Popen([*DRIVER, root, "-", "1100"], start_new_session=True)
    try:
        wait_for(lambda: bool(list(Path(root).glob("pretrain/*/attempts/*/waiting"))), 300)
        wait_for(lambda: has_metrics(store), 300)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    clock.set_back(A_MONTH)
    again = subprocess.run([*DRIVER, root, "-"], env=os.environ | clock.environment, timeout=500, check=False)
    assert again.returncode == 0

    found = recorded(store)
    found.check_sound()
    alive, dead = found.flows()
    assert (dead.info.status, alive.info.status) == ("KILLED", "FINISHED")
    assert dead.info.start_time - alive.info.start_time > (A_MONTH - 3600) * 1000
    (goes_on,) = found.stages(alive).values()
    assert found.steps(goes_on, "loss") == list(range(driver.STEPS))
    assert goes_on.data.tags["moinho.continues"]
    assert [row.stage for row in listing(Store(root))] == ["clean", "pretrain"]
    assert all(0 <= row.seconds < 500 for row in listing(Store(root)))
