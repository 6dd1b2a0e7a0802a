"""Compiled code that a killed process may have left half written is not used again."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from pipeline.compute_config import ComputeConfig
from pipeline.store import sha256_of
from pipeline.training.compile_cache import compiling
from pipeline.training.group import Group
from pipeline.training.resolve import has_compiler
from pipeline.training.worker import train
from tests.training.toys import toy_attempt, toy_config, toy_data

COMPILED = ComputeConfig(compile=True, threads=1, checkpoint_seconds=1000)
CONFIG = toy_config(steps=4, evaluate_every=4, prompts=())


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
    return tmp_path / "cache"


def enter(begun, end) -> None:
    """Be in the middle of compiling, or done with it, until somebody says so."""
    with compiling() as folder:
        (folder / "half").write_text("half of it")
        begun.put(str(folder))
        end.get()
    begun.put("done")
    end.get()


class Compiler:
    """A process that compiles."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.begun, self.end = context.Queue(), context.Queue()
        self.process = context.Process(target=enter, args=(self.begun, self.end))
        self.process.start()
        self.folder = Path(self.begun.get(timeout=60))

    def finish(self) -> None:
        self.end.put(True)
        assert self.begun.get(timeout=60) == "done"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


def test_what_was_compiled_to_the_end_is_used_again_even_if_the_process_was_killed_later():
    compiler = Compiler()
    compiler.finish()
    compiler.kill()
    with compiling() as folder:
        assert folder == compiler.folder
        assert (folder / "half").exists()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)


def test_what_a_process_was_killed_in_is_left_for_an_empty_folder():
    compiler = Compiler()
    compiler.kill()
    with compiling() as folder:
        assert folder != compiler.folder
        assert not (folder / "half").exists()
    assert not compiler.folder.exists()
    with compiling() as again:
        assert again == folder


def test_a_process_that_still_compiles_shares_its_folder():
    compiler = Compiler()
    try:
        with compiling() as folder:
            assert folder == compiler.folder
    finally:
        compiler.kill()


def test_a_folder_in_which_compiling_failed_is_not_used_again_and_stays_while_somebody_lives_there():
    compiler = Compiler()
    compiler.finish()
    try:
        with pytest.raises(ValueError, match="no code"), compiling(afresh=True) as failed:
            raise ValueError("no code")
        assert failed != compiler.folder
        with compiling(afresh=True) as folder:
            assert folder not in (failed, compiler.folder)
        assert compiler.folder.exists()
    finally:
        compiler.kill()


def die_while_it_compiles(folder: Path) -> None:
    """Train until compiled code is being written, then end as by SIGKILL."""
    import pipeline.training.compile_cache as cache

    original = cache._usable

    def usable(root, afresh):
        found = original(root, afresh)

        def wait_and_die():
            while not list(found.rglob("*.so")):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)

        import threading

        threading.Thread(target=wait_and_die, daemon=True).start()
        return found

    cache._usable = usable
    train(CONFIG, COMPILED, toy_attempt(folder), toy_data(folder / "data"), Group.alone())


@pytest.mark.everything
@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs g++ and Python's headers")
def test_a_training_killed_while_it_compiles_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    process = multiprocessing.get_context("spawn").Process(target=die_while_it_compiles, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for torn in (tmp_path / "cache").rglob("*.so"):  # as if the kill had come a moment earlier
        torn.write_bytes(torn.read_bytes()[:100])

    data = toy_data(tmp_path / "data")
    second = toy_attempt(tmp_path, "second")
    train(CONFIG, COMPILED, second, data, Group.alone())
    torch._dynamo.reset()
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "clean"))
    undisturbed = toy_attempt(tmp_path / "undisturbed")
    train(CONFIG, COMPILED, undisturbed, data, Group.alone())
    ours, theirs = (attempt.path("model/model.safetensors") for attempt in (second, undisturbed))
    assert sha256_of(ours) == sha256_of(theirs)
