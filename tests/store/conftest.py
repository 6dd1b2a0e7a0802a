"""The store's tests run on a folder and on a real S3 server."""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.store import Store
from tests.object_store import BUCKET, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment by which a running S3 server is found; this process has it too."""
    with s3_server(tmp_path_factory.mktemp("s3")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The root of an empty store: a folder's path, or an address with a prefix of its own."""
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def store(root: str) -> Store:
    return Store(root)
