"""Where a job of a cluster begins: `python -m flows.on_cluster run …` in place of `moinho run …`.

What the machine has is compared with what the submitter had before anything is imported that the machine may
not have: until then nothing but Python's own library is used.
"""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping

from pipeline.errors import InputError

SUBMITTED_WITH = "MOINHO_SUBMITTED_WITH"
"""Environment variable with the submitter's versions: a JSON object, name → version."""
MUST_AGREE = {"python": "Python", "ray": "Ray"}
"""What the submitter and the cluster must have the same minor version of, and how it is spelt."""


class ClusterVersionsError(InputError):
    """The cluster has another Python or Ray than the machine that submits to it, or lacks packages."""

    remedy = (
        "Submit from an environment with the cluster's Python and Ray, or start the cluster with yours; "
        "packages that it lacks are installed for the job by `--environment locked`."
    )


def versions_here(names: Iterable[str]) -> dict[str, str]:
    """Of Python and of packages; those that are not there are left out."""
    found = {}
    for name in names:
        try:
            found[name] = platform.python_version() if name == "python" else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def require_same_minor(submitted: Mapping[str, str], cluster: Mapping[str, str]) -> None:
    """Of Python and Ray, as far as both are known. Raises ClusterVersionsError."""
    others = [
        (spelt, cluster[name], submitted[name])
        for name, spelt in MUST_AGREE.items()
        if name in cluster and name in submitted and _minor(cluster[name]) != _minor(submitted[name])
    ]
    if others:
        there = " and ".join(f"{spelt} {version}" for spelt, version, _ in others)
        here = " and ".join(f"{spelt} {version}" for spelt, _, version in others)
        wanted = " and ".join(f"{spelt} {_minor(version)}" for spelt, version, _ in others)
        raise ClusterVersionsError(
            f"the cluster has {there}, and the machine that submits has {here}: submit from an environment "
            f"with {wanted}, or start the cluster with what the submitter has"
        )


def differences_told(submitted: Mapping[str, str], cluster: Mapping[str, str]) -> str | None:
    """One line about packages of other versions, or None. What the name of a build says behind the version
    (torch 2.13.0+cpu) does not count. Raises ClusterVersionsError where one is not there at all."""
    require_same_minor(submitted, cluster)
    if lacking := [f"{name} {version}" for name, version in submitted.items() if name not in cluster]:
        raise ClusterVersionsError(
            f"the cluster's machine lacks {', '.join(lacking)}: install moinho's dependencies on every "
            "machine of the cluster, or add --environment locked to `moinho submit`"
        )
    others = [
        f"{name} {cluster[name]} (not {version})"
        for name, version in submitted.items()
        if _public(cluster[name]) != _public(version)
    ]
    return f"other versions than where this was submitted: {', '.join(others)}" if others else None


def _public(version: str) -> str:
    return version.partition("+")[0]


def _minor(version: str) -> str:
    """Such as 3.11 of 3.11.9."""
    return ".".join(_public(version).split(".")[:2])


def main() -> None:
    """Compare, then run the command. Exits with 2 where the versions do not allow that."""
    submitted = json.loads(os.environ[SUBMITTED_WITH])
    try:
        told = differences_told(submitted, versions_here(submitted))
    except ClusterVersionsError as error:
        print(f"error: {error}", flush=True)
        sys.exit(error.exit_code)
    if told is not None:
        print(f"note: {told}", flush=True)
    from flows.__main__ import main as run_command

    run_command()


if __name__ == "__main__":
    main()
