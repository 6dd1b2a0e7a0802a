"""No pickle is opened, and no code run, of what lies in a store, in a folder, or on a hub.

A bomb makes a folder when somebody unpickles it; one stands in every place that something is read from. The
index of a checkpoint is tried in tests/training/test_checkpoint.py, a model to begin with in
tests/training/test_continuing.py.
"""

import ast
import functools
import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

import pipeline
from pipeline.errors import StageError
from pipeline.models.adapters import AdapterBaseError, put_on
from pipeline.models.model import NotAModelError, load_model, load_tokenizer
from pipeline.tokens.rows import open_tokens
from pipeline.training.random_state import random_file, restore_random
from pipeline.training_faults import TRAINING_FAULT, told_fault
from tests.training.foreign import foreign_folder
from tests.training.toys import toy_attempt

SOURCES = Path(pipeline.__file__).parents[1]
OWN_CODE = "import os\nos.mkdir({marker!r})\n"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """The folder that a bomb makes. It would go off here."""
    path = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(path)))
    assert path.is_dir()
    path.rmdir()
    yield path
    assert not path.exists(), "the pickle was opened"


@pytest.fixture
def folder(tmp_path: Path, small_vocabulary: Any) -> Path:
    """A model as its makers would leave it."""
    return foreign_folder(tmp_path / "model", "llama", small_vocabulary.folder("tokenizer"))


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries ask at the terminal whether a model's own code may run."""

    def ask(question: str = "") -> str:
        raise AssertionError(f"asked: {question}")

    monkeypatch.setattr("builtins.input", ask)


def test_a_model_whose_weights_are_a_pickle_is_not_opened(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Bomb(marker)}, folder / "pytorch_model.bin")
    with pytest.raises(NotAModelError):
        load_model(folder)


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(Exception, match=r"[Hh]eader"):
        load_model(folder)


def test_an_index_that_names_a_pickle_is_not_followed(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Bomb(marker)}, folder / "part.bin")
    names = {"metadata": {}, "weight_map": {"model.norm.weight": "part.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))
    with pytest.raises(Exception):  # noqa: B017, PT011  (transformers' own, of several types)
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_s_own_code_is_neither_run_nor_asked_about(folder: Path, marker: Path, name: str) -> None:
    (folder / "own.py").write_text(OWN_CODE.format(marker=str(marker)))
    own = {each: "own.Own" for each in ("AutoConfig", "AutoModelForCausalLM")}
    told = json.loads((folder / name).read_text())
    told["auto_map"] = own if name == "config.json" else {"AutoTokenizer": [None, "own.Own"]}
    (folder / name).write_text(json.dumps(told | {"model_type": "own", "tokenizer_class": "Own"}))
    for load in (load_model, load_tokenizer):
        try:
            load(folder)
        except (ValueError, OSError, KeyError) as error:
            print(error)


def test_an_adapter_whose_matrices_are_a_pickle_is_not_opened(folder: Path, marker: Path) -> None:
    model, _ = load_model(folder)
    torch.save({"base_model.model.lm_head.weight": Bomb(marker)}, folder / "adapter_model.bin")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "task_type": "CAUSAL_LM"}')
    with pytest.raises(AdapterBaseError, match=r"has no adapter_model\.safetensors"):
        put_on(model, {"bomb": folder})


def test_the_random_state_of_a_checkpoint_is_not_unpickled(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / random_file(0)
    torch.save({"torch": torch.get_rng_state(), "python": Bomb(marker)}, path)
    with pytest.raises(pickle.UnpicklingError, match=r"[Ww]eights.only"):
        restore_random(path)


def test_a_shard_of_tokens_is_not_unpickled(tmp_path: Path, marker: Path) -> None:
    objects = np.empty(1, object)
    objects[0] = Bomb(marker)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb(marker)))
    for name in ("objects.npy", "pickle.npy"):
        with pytest.raises(ValueError, match=r"allow_pickle|pickled"):
            open_tokens(tmp_path / name)


def bomb_column(path: Path, marker: Path) -> None:
    """Parquet with a column that Ray Data unpickles where it is read."""
    about = {"ARROW:extension:name": "ray.data.arrow_pickled_object", "ARROW:extension:metadata": ""}
    column = pa.field("text", pa.large_binary(), metadata=about)
    pickled = pa.array([pickle.dumps(Bomb(marker))], pa.large_binary())
    pyarrow.parquet.write_table(pa.table([pickled], schema=pa.schema([column])), path)


def test_a_column_of_pickles_is_one_of_bytes_where_ray_train_is_loaded(tmp_path: Path, marker: Path) -> None:
    importlib.import_module("pipeline.training_group")
    bomb_column(tmp_path / "bomb.parquet", marker)
    (row,) = pyarrow.parquet.read_table(tmp_path / "bomb.parquet").to_pylist()
    assert isinstance(row["text"], bytes)


@pytest.mark.everything
def test_by_itself_ray_data_opens_such_a_column(tmp_path: Path) -> None:
    bomb_column(tmp_path / "bomb.parquet", tmp_path / "ran")
    read = "import pyarrow.parquet, ray.data, sys; pyarrow.parquet.read_table(sys.argv[1]).to_pylist()"
    subprocess.run([sys.executable, "-c", read, str(tmp_path / "bomb.parquet")], check=True)
    assert (tmp_path / "ran").exists(), "what is done about it is needed no more"


@pytest.mark.parametrize(
    ("module", "name"), [("os", "mkdir"), ("builtins", "eval"), ("pipeline.cluster", "join")]
)
def test_what_a_training_left_in_the_store_names_an_error_of_ours_or_nothing(
    tmp_path: Path, marker: Path, module: str, name: str
) -> None:
    attempt = toy_attempt(tmp_path)
    told = {"module": module, "name": name, "message": str(marker)}
    attempt.storage.create(f"{attempt.folder}/{TRAINING_FAULT}", json.dumps(told).encode())
    fault = told_fault(attempt)
    assert type(fault) is StageError
    assert str(fault) == str(marker)


def test_a_data_set_with_code_or_pickles_runs_nothing(tmp_path: Path, marker: Path) -> None:
    import datasets

    for name in ("script", "pickles"):
        (tmp_path / name).mkdir()
    (tmp_path / "script" / "script.py").write_text(OWN_CODE.format(marker=str(marker)))
    (tmp_path / "pickles" / "train.pkl").write_bytes(pickle.dumps(Bomb(marker)))
    (tmp_path / "pickles" / "train.pt").write_bytes(pickle.dumps(Bomb(marker)))
    for name in ("script", "pickles"):
        with pytest.raises((ValueError, RuntimeError, OSError)):
            datasets.load_dataset(str(tmp_path / name), split="train", streaming=True)


@functools.cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Everything in our sources, each with the file that it stands in."""
    return [
        (str(path.relative_to(SOURCES)), node)
        for package in ("pipeline", "crawler", "flows")
        for path in sorted((SOURCES / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Each call in our sources: where, what is called, with what."""
    for path, node in nodes():
        if isinstance(node, ast.Call):
            yield f"{path}:{node.lineno}", ast.unparse(node.func), node


def test_the_sources_open_nothing_that_runs_code() -> None:
    """What the tests above try in a few places holds in all: by the arguments of every call."""
    faults, opened = [], 0
    for place, called, node in calls():
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        kind = called.rpartition(".from_pretrained")[0]
        if kind.startswith("Auto") or called == "load":
            opened += 1
            wanted = {"local_files_only": "True", "trust_remote_code": "False"}
            if "Model" in kind:
                wanted["use_safetensors"] = "True"
            if kind and not wanted.items() <= given.items():
                faults.append(f"{place}: {called}: {wanted} expected")
        if called.endswith("torch.load") and given.get("weights_only") != "True":
            faults.append(f"{place}: torch.load without weights_only=True")
        if "allow_pickle" in given or given.get("trust_remote_code") == "True":
            faults.append(f"{place}: {called}({given})")
        if called in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "yaml.load"):
            faults.append(f"{place}: {called}")
        if called.startswith(("cloudpickle.", "dill.", "mlflow.pyfunc", "torch.hub", "marshal.", "shelve.")):
            faults.append(f"{place}: {called}")
    assert faults == []
    assert opened > 5


def test_only_the_index_of_a_checkpoint_is_unpickled_at_all() -> None:
    users = [
        path
        for path, node in nodes()
        if isinstance(node, ast.Import) and any(each.name in ("pickle", "cloudpickle") for each in node.names)
    ]
    assert users == ["pipeline/training/checkpoint_reading.py"]
