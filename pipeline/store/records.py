"""What is written about an artifact and about a finished shard, and how keys are made."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

FORMAT = 1
COMMIT = "MOINHO_COMMIT"
KEY_CHARACTERS = 16
RECORDED_PACKAGES = (
    "moinho",
    "torch",
    "transformers",
    "trl",
    "ray",
    "mlflow-skinny",
    "scrapy",
    "trafilatura",
    "resiliparse",
    "py3langid",
    "sentencepiece",
    "rensa",
    "phonenumbers",
    "pyarrow",
)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Frozen):
    """One file of an artifact."""

    path: str
    """Where it lies, relative to the artifact's folder."""
    bytes: int
    sha256: str


class InputOf(Frozen):
    """An artifact that another was made from, with the digest it had at that time."""

    stage: str
    key: str
    digest: str


class ShardRecord(Frozen):
    """A finished shard of a step: published once, by exclusive create, found again by its identity."""

    identity: str
    files: dict[str, File]
    """Logical name → file."""
    counts: dict[str, int]
    lost: str | None = None
    """Why the shard was set aside, if it was."""


class Record(Frozen):
    """`artifact.json`: published last, and only then does the artifact exist."""

    format: int = FORMAT
    stage: str
    revision: int
    key: str
    identity: dict[str, Any]
    """What entered the key of the configuration: resolved values that differ from their defaults."""
    config: dict[str, Any]
    """The whole resolved configuration of the stage."""
    inputs: dict[str, InputOf]
    content: dict[str, str]
    """Identity of what came from outside the store (files, installed libraries), by name."""
    counts: dict[str, int]
    figures: dict[str, float]
    files: dict[str, File]
    """Logical name → file."""
    digest: str
    """SHA-256 over the logical names and hashes of all files."""
    incomplete: bool = False
    """True if shards were lost within the user's limit; such an artifact is never reused silently."""
    compute: dict[str, Any]
    """Where and with how much it was made; never part of the key."""
    attempt: str
    started: str
    """UTC, ISO 8601."""
    seconds: float
    commit: str | None
    versions: dict[str, str]


def key_of(
    stage: str,
    revision: int,
    identity: Mapping[str, Any],
    inputs: Mapping[str, str],
    content: Mapping[str, str],
) -> str:
    """The artifact's key: the first 64 bits of SHA-256 over the canonical JSON of all it depends on."""
    parts = {
        "stage": stage,
        "revision": revision,
        "config": identity,
        "inputs": inputs,
        "content": content,
    }
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_CHARACTERS]


def digest_of(files: Mapping[str, File]) -> str:
    lines = (f"{name}\0{files[name].sha256}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def dump(record: Frozen) -> bytes:
    return (record.model_dump_json(indent=2) + "\n").encode()


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change what a stage makes."""
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The git commit of the source tree, with `+` if it has changes, or None outside git.

    A job of a cluster runs from a copy without git; its submitter has left the commit in $MOINHO_COMMIT.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    tree = Path(__file__).parent
    try:
        head = _git(tree, "rev-parse", "--short=12", "HEAD")
        changed = _git(tree, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}+" if changed else head


def _git(tree: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(tree), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
