"""What a job's machine must have, and what is told of the rest."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from flows.on_cluster import (
    SUBMITTED_WITH,
    ClusterVersionsError,
    differences_told,
    require_same_minor,
    versions_here,
)

HERE = {"python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0+cpu", "trl": "1.16.0"}


def test_nothing_is_told_of_equal_versions_whatever_they_were_built_for() -> None:
    assert differences_told(HERE, HERE | {"torch": "2.13.0+cu130"}) is None


def test_other_packages_are_told_in_one_line() -> None:
    told = differences_told(HERE, HERE | {"python": "3.11.2", "trl": "1.16.3", "more": "1"})
    assert (
        told
        == "other versions than where this was submitted: python 3.11.2 (not 3.11.9), trl 1.16.3 (not 1.16.0)"
    )


def test_another_python_or_ray_is_refused_with_what_to_do() -> None:
    with pytest.raises(ClusterVersionsError) as caught:
        require_same_minor(HERE, {"python": "3.12.1", "ray": "2.61.0"})
    assert str(caught.value) == (
        "the cluster has Python 3.12.1 and Ray 2.61.0, and the machine that submits has Python 3.11.9 and "
        "Ray 2.60.0: submit from an environment with Python 3.12 and Ray 2.61, or start the cluster with "
        "what the submitter has"
    )
    require_same_minor(HERE, {"python": "3.11.0"})
    require_same_minor(HERE, {})


def test_a_machine_without_the_packages_says_so_before_it_imports_them() -> None:
    tree = Path(__file__).parents[2]
    wanted = {"python": platform.python_version(), "torch": "2.13.0"}
    done = subprocess.run(
        # -S: without the folder that packages are installed in
        [sys.executable, "-S", "-m", "flows.on_cluster", "run", "road.toml"],
        cwd=tree,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), SUBMITTED_WITH: json.dumps(wanted)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == (
        "error: the cluster's machine lacks torch 2.13.0: install moinho's dependencies on every machine of "
        "the cluster, or add --environment locked to `moinho submit`\n"
    )


def test_what_is_not_here_has_no_version() -> None:
    assert versions_here(["python", "no-such-package"]) == {"python": platform.python_version()}
