"""Which packages a job has: those of the cluster's machines, or those of a lock file that travels with it."""

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.store import sha256_of

INSTALL_SECONDS = 3600
"""Ray gives the making of a job's environment ten minutes by itself; torch for GPUs alone has 3 GB."""


class Environment(StrEnum):
    """Where the packages of a job come from."""

    CLUSTER = "cluster"
    LOCKED = "locked"
    LOCKED_CPU = "locked-cpu"


LOCK_FOLDER = Path(__file__).parents[1] / "infra" / "locks"
LOCKS = {Environment.LOCKED: "cuda.txt", Environment.LOCKED_CPU: "cpu.txt"}
"""The second leaves torch, whose CPU build no package index has, to the machines."""


class NoLockError(InputError):
    """A job should have the packages of a lock file, and there is none here."""

    remedy = "Submit from the source tree, which has infra/locks, or leave out `--environment`."


def runtime_environment(environment: Environment, folder: Path) -> dict[str, Any]:
    """What Ray is told beside the working directory, `folder`, which a lock file is added to.

    Ray makes a virtual environment of it on each machine that the job comes to, beside what the machine has,
    and keeps it for the next job with the same lock. Raises NoLockError.
    """
    if environment is Environment.CLUSTER:
        return {}
    lock = LOCK_FOLDER / LOCKS[environment]
    if not lock.is_file():
        raise NoLockError(
            f"--environment {environment}: there is no {lock}; submit from moinho's source tree, or leave it "
            "out and install moinho's dependencies on the machines of the cluster"
        )
    name = f"locked-{sha256_of(lock)[:12]}.txt"  # Ray tells environments apart by this name alone
    shutil.copy(lock, folder / name)
    # A file, since Ray hands a list of packages on in one variable of the environment, which is too small.
    packages = [f"-r ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{name}"]
    options = ["--require-hashes", "--no-deps", "--disable-pip-version-check", "--no-cache-dir"]
    return {
        "pip": {"packages": packages, "pip_check": False, "pip_install_options": options},
        "config": {"setup_timeout_seconds": INSTALL_SECONDS},
    }
