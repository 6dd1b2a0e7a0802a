"""Processes that read what strangers wrote are not given the secrets of the environment."""

import sys
import tempfile
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from crawler.child import _child
from pipeline.corpus.extractor_process import READY, ExtractorProcess, Limits
from tests.security.planted import planted_environment, secrets_in
from tests.tracking.recorded import wait_for

WAITING = f"import sys; sys.stdout.buffer.write({READY!r}); sys.stdout.flush(); sys.stdin.read()"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    given = planted_environment()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return secrets_in(given)


def secrets_of_process(number: int, planted: set[str]) -> set[str]:
    # A program that was started just now has no environment yet: the kernel puts it there a moment later.
    process = psutil.Process(number)
    wait_for(lambda: bool(process.environ()))
    values = process.environ().values()
    return {secret for secret in planted if any(secret in value for value in values)}


def test_the_extractor_has_no_secret(planted: set[str]) -> None:
    limits = Limits(cpu_seconds=1.0, memory_bytes=1 << 30)
    with ExtractorProcess("plain", limits, [sys.executable, "-c", WAITING]) as process:
        process.child = process._start()
        assert secrets_of_process(process.child.pid, planted) == set()


@pytest.mark.parametrize(("store", "has"), [("", False), ("/tmp/store", False), ("s3://bucket/store", True)])
def test_the_spider_has_secrets_only_to_look_into_an_object_store(
    store: str, has: bool, planted: set[str]
) -> None:
    options: Any = SimpleNamespace(store=store)
    with tempfile.TemporaryFile() as errors, _child(options, errors) as child:
        assert secrets_of_process(child.pid, planted) == (planted if has else set())
