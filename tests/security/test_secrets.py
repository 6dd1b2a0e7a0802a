"""A secret is refused where it would be recorded, and what a run writes has none of those it was given."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli import app
from flows.configuration import load
from flows.submitting import Request, for_cluster, submit
from flows.web_to_model import WebToModel
from pipeline.credentials import (
    SecretInSettingError,
    hidden,
    secret_in_address,
    shown,
    without_secrets,
)
from pipeline.store import Storage
from pipeline.tracking import Destination
from pipeline.tracking.destination import ui_command, ui_environment
from tests.road import CONFIG, Run, moinho
from tests.security.planted import BY_ENVIRONMENT, files_with, planted_environment, secrets_in

SECRET = "planted0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f"
TOKEN = "hf_" + SECRET[:36]
IN_SETTINGS = [
    f"compute.mlflow=https://ana:{SECRET}@mlflow.example.org",
    f"compute.mlflow=postgresql://ana:{SECRET}@db.example.org/mlflow",
    f"compute.store=s3://AKIAKEY:{SECRET}@bucket/prefix",
    f"compute.store=s3://bucket/prefix?secret={SECRET}",
    f'crawl.seeds=["https://example.org/", "https://ana:{SECRET}@example.org/"]',
    f'crawl.seeds=["https://example.org/?access_token={SECRET}"]',
    f"crawl.contact={TOKEN}",
    f'ingest.archives=["https://host.example/a.warc.gz?X-Amz-Signature={SECRET}"]',
    f'sources=[{{name = "a", path = "https://ana:{SECRET}@host.example/a.jsonl"}}]',
    f"compute.hosts.www=http://ana:{SECRET}@127.0.0.1:80",
    f"https://ana:{SECRET}@host.example",
    f"no.such.key=https://ana:{SECRET}@host.example",
]


@pytest.mark.parametrize("setting", IN_SETTINGS)
def test_a_setting_with_a_secret_is_refused_without_repeating_it(setting: str) -> None:
    with pytest.raises(SecretInSettingError) as caught:
        load(WebToModel, CONFIG, [setting])
    assert SECRET[:36] not in str(caught.value)
    assert "--set: " in str(caught.value)


def test_a_file_with_a_secret_is_refused_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "{CONFIG}"\n[compute]\nmlflow = "https://ana:{SECRET}@mlflow.example.org"\n')
    done = moinho("config", str(path))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {path}: compute.mlflow holds a password before the @, and configurations are recorded; take "
        "it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in its place, or for a "
        "database the whole address as MLFLOW_TRACKING_URI\n"
    )


@pytest.mark.parametrize(
    "setting",
    [
        "compute.mlflow=https://mlflow.example.org:5000",
        "compute.mlflow=postgresql://ana@db.example.org/mlflow",
        "compute.store=s3://bucket/prefix",
        "compute.store=hdfs://ana@namenode:8020/store",
        'crawl.seeds=["https://example.org:8080/@ana", "https://example.org/a?page=2"]',
        "crawl.contact=ana@example.org",
    ],
)
def test_an_address_without_a_secret_is_taken(setting: str) -> None:
    load(WebToModel, CONFIG, [setting])


def test_no_store_is_opened_by_an_address_with_a_secret() -> None:
    with pytest.raises(SecretInSettingError) as caught:
        Storage(f"s3://AKIAKEY:{SECRET}@bucket/prefix")
    assert "the store is s3://bucket/prefix, with a password before the @" in str(caught.value)
    told = CliRunner().invoke(app, ["ls", "--store", f"s3://AKIAKEY:{SECRET}@bucket/prefix"])
    assert isinstance(told.exception, SecretInSettingError)


def test_mlflow_s_address_in_the_environment_may_have_a_password_only_of_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://ana:{SECRET}@mlflow.example.org")
    with pytest.raises(SecretInSettingError, match="MLFLOW_TRACKING_PASSWORD"):
        Destination.of(Storage(str(tmp_path)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://ana:{SECRET}@db.example.org/mlflow")
    found = Destination.of(Storage(str(tmp_path)))
    assert found.label == "postgresql://db.example.org/mlflow"
    assert SECRET not in " ".join(ui_command(found)), "every user of the machine can read a command's words"
    assert SECRET in ui_environment(found)["MLFLOW_BACKEND_STORE_URI"]


@given(
    name=st.sampled_from([*BY_ENVIRONMENT, "PGPASSWORD", "WANDB_API_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]),
    secret=st.text("abcdefghijklmnopqrstuvwxyz0123456789+/=", min_size=6, max_size=40),
    around=st.tuples(st.text(max_size=20), st.text(max_size=20)),
)
def test_a_secret_of_the_environment_is_in_no_text_that_is_told(
    name: str, secret: str, around: tuple[str, str]
) -> None:
    with mock.patch.dict(os.environ, {name: secret, "PATH": "/usr/bin"}, clear=True):
        told = hidden(secret.join(around))
        assert secret not in told or secret in "".join(around)
        assert without_secrets(os.environ) == {"PATH": "/usr/bin"}


@given(user=st.text("abc%._-", max_size=8), word=st.text("abc123%._-:@!", min_size=1, max_size=20))
def test_a_password_in_an_address_is_found_whatever_it_is(user: str, word: str) -> None:
    address = f"https://{user}:{word}@host.example/path?page=2"
    assert secret_in_address(address)
    assert shown(address) == "https://host.example/path"
    assert hidden(f"no answer from {address}") == "no answer from https://***@host.example/path?page=2"


class Submitting:
    """Ray's client for jobs, up to where a job would be sent."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}
        self.files = b""

    def versions(self) -> dict[str, str]:
        return {}

    def list_jobs(self) -> list[Any]:
        return []

    def submit_job(self, **given: Any) -> None:
        folder = Path(given["runtime_env"]["working_dir"])
        self.files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        self.sent = given


def test_a_job_takes_no_secret_of_its_submitter_along(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = planted_environment()
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    cluster: Any = Submitting()
    request = Request(for_cluster(load(WebToModel, CONFIG)), str(CONFIG), ["moinho", "submit", "road.toml"])
    submit(cluster, request)
    sent = json.dumps(cluster.sent).encode() + cluster.files
    assert b"road.toml" in sent
    assert not [secret for secret in secrets_in(planted) if secret.encode() in sent]


def files_config(folder: Path) -> Path:
    """A configuration that reads three texts of this machine."""
    texts = [{"text": f"The mill grinds grain number {number}. " * 20} for number in range(3)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    path = folder / "files.toml"
    path.write_text(f'name = "files"\n[[sources]]\nname = "texts"\npath = "{folder}/texts.jsonl"\n')
    return path


def words_of(run: Run) -> set[str]:
    """The words of all commands that ran until the run's end, as every user of a machine can read them."""
    found: set[str] = set()
    while run.process.poll() is None:
        for process in run.family():
            try:
                found |= set(process.cmdline())
            except psutil.Error:
                continue
        time.sleep(0.1)
    return found


def test_nothing_that_a_run_writes_has_a_secret_that_it_was_given(tmp_path: Path) -> None:
    planted, config = planted_environment(), files_config(tmp_path)
    store, cache = tmp_path / "store", tmp_path / "cache"
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as ray:
        given = {**planted, "RAY_TMPDIR": ray, "MOINHO_CACHE": str(cache)}
        run = Run.start(store, config=config, environment=given, until="extract")
        words = words_of(run)
        assert run.wait() == 0, run.text()
        assert list(Path(ray).rglob("raylet.out")), "Ray's own logs are searched too"
        assert files_with(secrets_in(planted), store, cache, Path(ray)) == []
    assert (store / "mlflow.db").exists()
    assert not [word for word in words for secret in secrets_in(planted) if secret in word]


@pytest.mark.everything
def test_nothing_that_a_failing_run_writes_has_a_secret(tmp_path: Path) -> None:
    """An MLflow that is not there, and no document that could be cleaned: libraries' messages, tracebacks."""
    planted, config = planted_environment(), files_config(tmp_path)
    planted["MLFLOW_TRACKING_URI"] = f"mysql://ana:planted{SECRET}@127.0.0.1:9/mlflow"
    (tmp_path / "texts.jsonl").write_text("{no JSON\n")
    store = tmp_path / "store"
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as ray:
        given = {**planted, "RAY_TMPDIR": ray, "MOINHO_CACHE": str(tmp_path / "cache")}
        run = Run.start(store, config=config, environment=given, until="hold-out")
        assert run.wait() == 1, run.text()
        assert files_with(secrets_in(planted), store, tmp_path / "cache", Path(ray)) == []
    [log] = store.glob("runs/*/sender.log")
    assert "MySQLdb" in log.read_text(), "MLflow was tried, and what it said is among what was searched"
