"""The locks hold all that pyproject.toml asks for, in a version that it allows, with hashes and no index."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

pytestmark = pytest.mark.everything

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "infra/locks"
OF_TORCH = ("torch", "triton")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Locked:
    """A package in a lock."""

    requirement: Requirement
    version: Version
    hashes: int


def locked(name: str) -> dict[str, list[Locked]]:
    """By name; several where versions differ by platform or Python."""
    found: dict[str, list[Locked]] = {}
    for block in _blocks(LOCKS / f"{name}.txt"):
        requirement = Requirement(block.partition("--hash")[0].strip())
        (pin,) = requirement.specifier
        assert pin.operator == "==", block
        package = Locked(requirement, Version(pin.version), len(HASH.findall(block)))
        found.setdefault(canonicalize_name(requirement.name), []).append(package)
    return found


def _blocks(path: Path) -> Iterator[str]:
    """A requirement with its hashes, in one line."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        line = line.partition(" #")[0].strip()
        if line and not line.startswith("#"):
            yield line


def asked(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


LOCKED = [("cpu", ("s3", "cloud")), ("cuda", ("s3", "cloud", "gpu"))]


@pytest.mark.parametrize(("name", "extras"), LOCKED)
def test_a_lock_has_every_requirement_in_a_version_that_is_asked_for(
    name: str, extras: tuple[str, ...]
) -> None:
    lock = locked(name)
    for requirement in asked(*extras):
        package = canonicalize_name(requirement.name)
        if name == "cpu" and package == "torch":
            assert package not in lock, "its CPU build is another file than the index has"
            continue
        assert package in lock, f"run infra/locks/make.sh: {requirement} is not in {name}.txt"
        for found in lock[package]:
            assert requirement.specifier.contains(found.version), f"run infra/locks/make.sh: {requirement}"


def test_what_is_asked_for_with_an_extra_has_such_an_extra() -> None:
    """pip only warns of one that is no more, and leaves out what it brought."""
    for requirement in asked("s3", "cloud", "test"):
        known = (
            importlib.metadata.metadata(requirement.name).get_all("Provides-Extra")
            if requirement.extras
            else []
        )
        assert requirement.extras <= set(known or ()), requirement


@pytest.mark.parametrize(("name", "extras"), LOCKED)
def test_every_package_of_a_lock_has_hashes_and_none_names_an_index(
    name: str, extras: tuple[str, ...]
) -> None:
    assert all(found.hashes for versions in locked(name).values() for found in versions)
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "-url" not in text


def test_both_locks_have_the_same_versions_and_that_of_the_cpu_nothing_for_gpus() -> None:
    cpu, cuda = locked("cpu"), locked("cuda")
    assert not [package for package in cpu if package in OF_TORCH or package.startswith(("nvidia-", "cuda-"))]
    for package, versions in cpu.items():
        assert {each.version for each in versions} == {each.version for each in cuda[package]}, package


@pytest.mark.parametrize(("name", "extras"), LOCKED)
def test_a_lock_is_closed(name: str, extras: tuple[str, ...]) -> None:
    """What its packages need, as far as they are installed here, is in it too."""
    lock, missing = locked(name), []
    for package in lock:
        try:
            needs = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(need.name) not in lock and need.name != "torch":
                missing.append(f"{package} needs {need}")
    assert missing == []
