"""The command line. Exit codes: 0 done, 1 a stage failed, 2 the input is wrong, 130 stopped by Ctrl-C."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from pipeline.errors import InputError, MoinhoError

if TYPE_CHECKING:
    from flows.inspection import Ancestor
    from flows.web_to_model import WebToModel
    from pipeline.store import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From URLs to a language model that chats. "
    "Start with `moinho run configs/quickstart.toml`, then `moinho chat quickstart/chat`.",
)
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

DEFAULT_STORE = "store"

ConfigPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file, such as configs/quickstart.toml.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override one setting, such as pretrain.steps=300. Repeatable."
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the run, in place of the configuration's `name`.")]
StoreRoot = Annotated[
    str | None,
    typer.Option("--store", envvar="MOINHO_STORE", help="The store: a folder, or an object store's URL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reference = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="A name, a key or its beginning, or a folder.")
]
ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name such as quickstart/chat, a key, or a folder.")
]


@app.command(
    "run", epilog="Example: moinho run configs/quickstart.toml --set pretrain.steps=300 --name trial"
)
def run_command(
    config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None
) -> None:
    """Run the flow; finished stages are reused, an interrupted one goes on."""
    from flows.run import run

    loaded, given = _load(config, settings, name, store)
    raise typer.Exit(run(loaded, config, given, Console(soft_wrap=False)))


@app.command("plan", epilog="Example: moinho plan configs/quickstart.toml --set pretrain.steps=300")
def plan_command(
    config: ConfigPath,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say for each stage whether it is in the store or to be made, with its work; make nothing."""
    from flows.display import number
    from flows.planning import plan

    stages = plan(_load(config, settings, name, store)[0])
    if as_json:
        _print_json([dataclasses.asdict(stage) for stage in stages])
        return
    table = Table("stage", "key", "state", "estimated work")
    for stage in stages:
        work = ", ".join(f"{number(amount)} {unit}" for unit, amount in stage.work.items() if amount)
        state = "[dim]in the store[/dim]" if stage.in_store else "[bold]to be made[/bold]"
        table.add_row(stage.stage, stage.key, state, "" if stage.in_store else work)
    console.print(table)


@app.command("config", epilog="Example: moinho config configs/quickstart.toml")
def config_command(
    config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None
) -> None:
    """Print the whole resolved configuration, with every derived value, as TOML."""
    from flows.inspection import as_toml

    loaded, _ = _load(config, settings, name, store)
    sys.stdout.write(as_toml(loaded))


@app.command("ls", epilog="Example: moinho ls")
def ls_command(store: StoreRoot = None, as_json: AsJson = False) -> None:
    """List the artifacts in the store by name and key."""
    from flows.inspection import listing

    rows = listing(_store(store))
    if as_json:
        _print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        console.print("The store is empty. `moinho run configs/quickstart.toml` fills it.")
        return
    table = Table("name", "artifact", "size", "made", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never cut: names and keys are there to be copied
    for row in rows:
        key, size = f"{row.stage}/{row.key}", f"{row.bytes / 1e6:,.1f} MB"
        table.add_row("\n".join(row.names) or "[dim]-[/dim]", key, size, row.started[:10])
    console.print(table)


@app.command("show", epilog="Example: moinho show quickstart/chat")
def show_command(artifact: Reference, store: StoreRoot = None, as_json: AsJson = False) -> None:
    """Show the record of one artifact, and what it was made from as a tree."""
    from flows.inspection import lineage, record_lines
    from flows.references import find_artifact

    home = _store(store)
    found = find_artifact(home, artifact)
    if as_json:
        _print_json(found.record.model_dump(mode="json"))
        return
    for label, value in record_lines(found):
        console.print(f"[bold]{label:<10}[/bold] {escape(value)}", soft_wrap=True)
    names = {target: name for name, target in home.named().items()}
    console.print(_tree(lineage(found.storage, found.stage, found.key), names))


@app.command("tokenize", epilog='Example: moinho tokenize quickstart/vocabulary "A moagem do trigo"')
def tokenize_command(
    model: ModelReference, text: Annotated[str, typer.Argument(help="The text.")], store: StoreRoot = None
) -> None:
    """Show the pieces of a text with their ids, and letters per token."""
    from flows.references import find_tokenizer_folder
    from pipeline.chat.terminal import tokenize
    from pipeline.models.model import load_tokenizer

    tokenize(load_tokenizer(find_tokenizer_folder(_store(store, needed=False), model)), console, text)


@app.command(
    "complete",
    epilog='Example: moinho complete quickstart/base "The quick brown fox jumps over the lazy" --top 10',
)
def complete_command(
    model: ModelReference,
    text: Annotated[str, typer.Argument(help="The beginning.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="How many next words to show.")] = 10,
    store: StoreRoot = None,
) -> None:
    """Show the likeliest next words with their probabilities, then a continuation."""
    from flows.references import find_model_folder
    from pipeline.chat.terminal import complete
    from pipeline.models.model import load_model

    if not text.strip():
        raise InputError('there is nothing to complete: give a beginning, such as "The function returns a"')
    loaded, tokenizer = load_model(find_model_folder(_store(store, needed=False), model))
    complete(loaded, tokenizer, console, text, top)


@app.command("chat", epilog="Example: moinho chat quickstart/chat")
def chat_command(model: ModelReference, store: StoreRoot = None) -> None:
    """Talk to a model. /reset forgets the conversation, /exit ends it."""
    from flows.references import find_model_folder
    from pipeline.chat.terminal import chat
    from pipeline.models.model import load_model

    loaded, tokenizer = load_model(find_model_folder(_store(store, needed=False), model))
    chat(loaded, tokenizer, console, sys.stdin)


@app.command("ui", epilog="Example: moinho ui --port 5001")
def ui_command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    store: StoreRoot = None,
) -> None:
    """Open the MLflow UI on the store's runs, at http://127.0.0.1:5000."""
    from pipeline.tracking import serve_ui

    console.print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    raise typer.Exit(serve_ui(_store(store).storage, port=port))


def _load(
    path: Path, settings: list[str] | None, name: str | None, store: str | None
) -> tuple["WebToModel", list[str]]:
    """The configuration, and all that was given beside the file, as `--set` would say it."""
    from flows.configuration import load
    from flows.web_to_model import WebToModel

    given = list(settings or [])
    if name is not None:
        given.append(f"name={json.dumps(name)}")
    if store is not None:
        given.append(f"compute.store={json.dumps(store)}")
    return load(WebToModel, path, given), given


def _store(root: str | None, needed: bool = True) -> "Store":
    """The store to look into; a model may also be given as a folder, without one."""
    from pipeline.store import Store

    store = Store(root or DEFAULT_STORE)
    if needed and not store.storage.exists(""):
        raise InputError(
            f"there is no store at {store.storage.root}: name another with --store, "
            "or make one with `moinho run`"
        )
    return store


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def _tree(ancestor: "Ancestor", names: dict[tuple[str, str], str]) -> Tree:
    """A lineage as rich draws it: role, name or key, and the counts of each."""
    from flows.display import figures_line

    name = names.get((ancestor.stage, ancestor.key), "")
    label = f"[bold]{ancestor.stage}[/bold]/{ancestor.key[:8]} [cyan]{name}[/cyan]"
    if ancestor.record is None:
        label += " [red]no longer in the store[/red]"
    elif ancestor.repeated:
        label += " [dim](see above)[/dim]"
    else:
        counts = {key: n for key, n in ancestor.record.counts.items() if "." not in key}
        label += f" [dim]{figures_line(counts)}[/dim]"
    tree = Tree(label)
    for given in ancestor.inputs:
        tree.children.append(_tree(given, names))
    return tree


def _quiet_environment() -> None:
    """No library sends usage data or asks a hub behind the user's back."""
    for name, value in {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """Run the command line; a fault of the user's input is told in one message."""
    _quiet_environment()
    try:
        sys.exit(app(standalone_mode=False) or 0)  # the code of a typer.Exit is handed back, not raised
    except MoinhoError as error:
        errors.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(2)
