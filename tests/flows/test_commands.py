"""What the commands refuse, and in which words."""

import importlib.metadata
import io
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table

from flows import cli
from flows.commands import models, options, store
from flows.references import (
    KINDS,
    UnknownArtifactError,
    find_artifact,
    find_model_folder,
    find_tokenizer_folder,
)
from pipeline.alignment.align import DpoModel, GrpoModel, RlooModel
from pipeline.alignment.ppo import PpoModel
from pipeline.config import Config
from pipeline.models.model import Model, NotAModelError, load_model
from pipeline.store import Artifact, Attempt, Journal, Made, Store
from pipeline.store.discard import discard
from pipeline.tracking.destination import ServedElsewhereError, serve_ui
from pipeline.training.finetune import ChatModel
from pipeline.training.pretrain import BaseModel
from tests.road import CONFIG
from tests.store.stages import GrindConfig, bake, grind


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(options.NoStoreError, match=f"no store at {tmp_path}/none"):
        options.open_store(f"{tmp_path}/none")


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "sack").touch()
    with pytest.raises(options.NoStoreError, match=r"sack is a file, and a store is a folder"):
        options.open_store(f"{tmp_path}/sack")


@pytest.mark.parametrize(
    ("files", "told"),
    [([], "it is empty"), (["notes.txt", "runs/a/b"], "it has notes.txt, runs, but nothing that a run")],
)
@pytest.mark.parametrize("command", [store.ls, store.verify, store.gc])
def test_a_folder_that_is_no_store_is_told_apart_from_an_empty_store(
    files: list[str], told: str, command: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(options.NoStoreError) as caught:
        command(store=tmp_path.name)
    assert f"{tmp_path} is no store of moinho: {told}" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({file.split("/")[0] for file in files})


def test_a_store_is_known_by_an_artifact_or_a_name(tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    shutil.rmtree(tmp_path / "locks")
    assert options.open_store(str(tmp_path)).storage.root == str(tmp_path)
    home.name("farm/flour", flour)
    shutil.rmtree(tmp_path / "grind")
    assert options.open_store(str(tmp_path)).named() == {"farm/flour": ("grind", flour.key)}


def test_an_empty_name_means_nothing_and_removes_nothing(tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    for command in (store.show, store.verify, store.rm):
        with pytest.raises(
            UnknownArtifactError, match="'' names nothing; give a name that `moinho ls` shows"
        ):
            command("", store=str(tmp_path))
    assert flour.exists()


def test_an_unknown_artifact_names_the_nearest(tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    home.name("farm/flour", grind(home, GrindConfig()))
    with pytest.raises(UnknownArtifactError, match=r"farm/floor: nothing of .* there is farm/flour"):
        find_artifact(home, "farm/floor")


def a_model(home: Store) -> BaseModel:
    return home.make(BaseModel, Config(), {}, lambda attempt: Made({}))


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("pretrian/{key}", "there is no stage 'pretrian'; did you mean pretrain/{whole} (farm/base)?"),
        ("pretrain", "pretrain is a stage; it made pretrain/{whole} (farm/base)"),
        ("finetune", "finetune is a stage; it made nothing in this store"),
        ("farm", "farm is the name of a run; name one thing of it: farm/base"),
        ("farm/chat", "discarded, or not made yet; there is farm/base"),
    ],
)
def test_what_was_probably_meant_is_told(reference: str, told: str, tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    base = a_model(home)
    home.name("farm/base", base)
    with pytest.raises(UnknownArtifactError) as caught:
        find_artifact(home, reference.format(key=base.key[:4]))
    assert told.format(whole=base.key) in str(caught.value)


def test_a_listing_can_be_of_a_run_a_name_or_a_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    bread = bake(home, flour)
    home.name("farm/flour", flour)
    for word, listed in (("farm", flour), ("farm/flour", flour), ("bake", bread)):
        store.ls(word, store=str(tmp_path))
        _, line = capsys.readouterr().out.splitlines()
        assert listed.base in line
    with pytest.raises(
        UnknownArtifactError, match=r"far: no run and no stage .*; runs: farm; stages: grind, bake"
    ):
        store.ls("far", store=str(tmp_path))


@pytest.mark.parametrize("width", [200, 30])
def test_many_rows_look_as_if_each_had_been_printed_alone(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    headings, folded = ("name", "artifact", "made"), ("name", "artifact")
    rows = [
        (f"farm-{number}/flour\nfarm/flour" if number % 3 else "[dim]-[/dim]", f"grind/{number:020}", "2026")
        for number in range(2 * options.ROWS_TOGETHER + 7)
    ]
    alone = Table(*headings, box=None, pad_edge=False)
    alone.columns[0].overflow = alone.columns[1].overflow = "fold"
    for row in rows:
        alone.add_row(*row)
    monkeypatch.setattr(options, "console", Console(width=width, file=io.StringIO()))
    told = []
    for table in (options.many_rows(headings, rows, folded), alone):
        with options.console.capture() as captured:
            options.console.print(table)
        told.append(captured.get())
    assert told[0] == told[1]


def test_what_is_damaged_or_discarded_has_its_name_and_the_command_that_made_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path)
    home = Store(root)

    def build(attempt: Attempt) -> Made:
        attempt.path("model/config.json").write_text("{}")
        return Made(files=attempt.publish_folder("model"))

    base = home.make(BaseModel, Config(), {}, build)
    home.name("farm/base", base)
    base.path("model/config.json").write_text("weevils")
    with pytest.raises(typer.Exit):
        store.verify(store=root)
    told = capsys.readouterr().out
    assert f"{base.base} (farm/base)  " in told
    assert told.endswith(f"moinho run CONFIG --store {root}\n"), "no journal knows it"
    journal = Journal(home.storage, "runs/one", "events")
    journal.write("flow", command="moinho submit farm.toml --set a.b=1 --store old --address http://x:1")
    journal.write("reused", stage=base.stage, key=base.key)
    with pytest.raises(typer.Exit):
        store.verify(store=root)
    assert capsys.readouterr().out.endswith(f"moinho run farm.toml --set a.b=1 --store {root}\n")
    store.rm("farm/base", yes=True, store=root)
    told = capsys.readouterr().out
    assert told.startswith(f"{base.base} (farm/base)  ")
    assert told.endswith(f"moinho plan farm.toml --set a.b=1 --store {root}\n")


def test_nothing_is_removed_where_nobody_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    monkeypatch.setattr("sys.stdin", (tmp_path / "artifact").open("w+"))
    with pytest.raises(store.NotConfirmedError, match="--dry-run"):
        store.gc(store=str(tmp_path))
    store.gc(dry_run=True, store=str(tmp_path))
    assert flour.exists()
    store.gc(yes=True, store=str(tmp_path))
    assert list(home.records()) == []


def test_a_dry_run_ends_with_a_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Store(str(tmp_path))
    for fineness in (1, 2):
        grind(home, GrindConfig(fineness=fineness))
    store.gc(dry_run=True, store=str(tmp_path))
    *_, total, last = capsys.readouterr().out.splitlines()
    assert total == "in all: 2 artifacts, 0.0 MB"
    assert last == "Nothing was removed: this was a dry run."


def test_inputs_that_are_gone_come_with_an_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Store(str(tmp_path))
    flour = grind(home, GrindConfig())
    bake(home, flour)
    discard(home, flour.base)
    with pytest.raises(typer.Exit) as ended:
        store.verify(store=str(tmp_path))
    told = capsys.readouterr().out
    assert ended.value.exit_code == 0
    assert f"was made from {flour.base}, which is no longer in the store" in told
    assert "no fault" in told
    assert "run its configuration again" in told


def test_what_goes_on_repeats_the_command_as_it_was_typed() -> None:
    config = Path("configs/quickstart.toml")
    assert options.as_typed("run", config, ["a.b=1", "c=x y"], "trial", "/data/store") == shlex.split(
        "moinho run configs/quickstart.toml --set a.b=1 --set 'c=x y' --name trial --store /data/store"
    )
    assert options.as_typed("run", config, None, None, None, "corpus")[-2:] == ["--until", "corpus"]
    assert options.as_typed("run", config, None, None, None) == ["moinho", "run", "configs/quickstart.toml"]


def test_each_fault_of_an_error_begins_with_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["moinho", "config", str(CONFIG), "--set", "stepz=1", "--set", "seeed=2"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: --set ") for line in lines)


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["moinho", "--version"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert capsys.readouterr().out == f"moinho {importlib.metadata.version('moinho')}\n"


@pytest.mark.parametrize("kind", [BaseModel, ChatModel, DpoModel, GrpoModel, RlooModel, PpoModel])
def test_a_model_of_any_stage_is_found(tmp_path: Path, kind: type[Model]) -> None:
    home = Store(str(tmp_path))

    def build(attempt: Attempt) -> Made:
        attempt.path("config.json").write_text("{}")
        return Made({"model/config.json": attempt.publish(attempt.path("config.json"))})

    home.name(f"farm/{kind.role}", home.make(kind, Config(), {}, build))
    assert (find_model_folder(home, f"farm/{kind.role}") / "config.json").is_file()
    with pytest.raises(UnknownArtifactError, match=f"models: farm/{kind.role}$"):
        find_model_folder(home, "farm/other")


def test_everything_that_a_stage_makes_is_found() -> None:
    def below(kind: type[Artifact]) -> Iterator[type[Artifact]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    ours = [kind for kind in below(Artifact) if kind.__module__.split(".")[0] in ("crawler", "pipeline")]
    assert {kind.stage for kind in ours if "stage" in vars(kind)} - KINDS.keys() == set()


def test_a_model_that_is_not_there_comes_with_those_that_are(tmp_path: Path) -> None:
    home = Store(str(tmp_path))
    home.name("farm/base", a_model(home))
    with pytest.raises(UnknownArtifactError, match=r"farm/chat: nothing of that name .*; models: farm/base$"):
        find_model_folder(home, "farm/chat")
    folder = tmp_path / "no-model"
    folder.mkdir()
    for find in (find_model_folder, find_tokenizer_folder):
        with pytest.raises(
            NotAModelError, match=r"no-model is no model folder: config.json is not there; a mod"
        ):
            find(home, str(folder))


def test_an_empty_question_cannot_be_answered() -> None:
    with pytest.raises(models.NothingToAnswerError, match="give a question"):
        models.chat("quickstart/chat", "  ")


def test_a_question_on_the_command_line_is_answered_and_that_is_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("pipeline.models.model.load_model", lambda folder, dtype: (None, None))
    monkeypatch.setattr("flows.references.find_model_folder", lambda store, reference: tmp_path)
    monkeypatch.setattr(
        "pipeline.chat.terminal.chat", lambda model, tokenizer, console, source: asked.append(list(source))
    )
    models.chat("farm/chat", "What is\na mill?", store=str(tmp_path))
    assert asked == [["What is a mill?"]]


def test_an_empty_beginning_cannot_be_completed() -> None:
    with pytest.raises(models.NothingToCompleteError, match="give a beginning"):
        models.complete("quickstart/base", "  ")


def test_a_folder_that_is_no_model_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(NotAModelError, match=r"config\.json.* not there"):
        load_model(tmp_path)


def test_runs_that_a_server_records_are_not_served_here(tmp_path: Path) -> None:
    with pytest.raises(ServedElsewhereError, match=r"http://127\.0\.0\.1:1: open that address"):
        serve_ui(Store(str(tmp_path)).storage, "http://127.0.0.1:1")
