"""What every test shares: a store of its own, and one local Ray for the whole session."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import hypothesis
import pytest

from pipeline.cluster import LOCAL_RAY_ENVIRONMENT
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Store
from tests.evaluation.fixtures import (  # noqa: F401
    documents,
    evaluation_store,
    small_conversations,
    small_corpus,
    small_model,
    small_tokens,
    small_vocabulary,
)
from tests.kills import fill

# Tests record in stores of their own, whatever the shell says.
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# Started under nohup, the tests of a lost terminal would start runs that ignore it, as nohup asks.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Likewise for Ctrl-C, which a shell's job in the background ignores.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ray reads this when it is imported, which some test modules do before a cluster is started.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = LOCAL_RAY_ENVIRONMENT["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]

# How long an example takes says nothing on a machine that others use too.
hypothesis.settings.register_profile("moinho", deadline=None)
hypothesis.settings.load_profile("moinho")

LONGEST = ("test_road.py", "test_deaths.py", "test_pretrain_stage.py", "test_kills.py")
"""Files that take minutes. The first and the last wait for one and the same run."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that at the end no process is left with one while the others idle."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def no_tracking_uri_left() -> Iterator[None]:
    """`mlflow.set_tracking_uri` sets it in the environment, where the next test's flow would find it."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def filled_road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores that one run of tests/road.toml from nothing has filled, once for all processes of the
    tests: `store`, in which tests may run more, and `undisturbed`, a copy that stays as it is."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "filled-road"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "undisturbed").exists():
            fill(folder / "store")
            shutil.copytree(folder / "store", folder / "part", symlinks=True)
            (folder / "part").rename(folder / "undisturbed")
    return folder


@pytest.fixture(scope="session")
def compute() -> Iterator[Compute]:
    """One Ray for all tests, in a short folder: its socket paths may not exceed 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        compute = Compute(ComputeConfig(), temp_dir=folder)
        yield compute
        compute.stop()
