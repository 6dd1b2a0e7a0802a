"""What the commands share: their options, where they print, how they open a configuration and a store."""

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from flows.web_to_model import WebToModel
    from pipeline.store import Storage, Store

UNBROKEN = 100_000
"""Characters of a line that nobody reads on a terminal."""

console = Console(width=None if sys.stdout.isatty() else 160)

DEFAULT_STORE = "store"
SHOWN_NAMES = 5
"""Of a folder that is no store."""
GAP, ROWS_TOGETHER = 2, 100
"""Of a table without lines: spaces between two columns, and rows that are printed as one."""

ConfigPath = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file, such as configs/quickstart.toml.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one setting, such as pretrain.steps=300; without a value: its default. Repeatable.",
    ),
]
Name = Annotated[str | None, typer.Option(help="Name of the run, in place of the configuration's `name`.")]
StoreRoot = Annotated[
    str | None,
    typer.Option("--store", envvar="MOINHO_STORE", help="The store: a folder, or an object store's URL."),
]
Snapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        metavar="DATE",
        help="Crawl as of this date (YYYY-MM-DD), in place of `crawl.snapshot`. It starts from the latest "
        "earlier crawl of the same configuration: only what is due is asked for again.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="STAGE",
        help="End with this stage, or with the artifact of this name, such as corpus; a later run goes on "
        "from there. `moinho plan` lists the stages.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reference = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="A name, a key or its beginning, or a folder.")
]
ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name such as quickstart/chat, a key, or a folder.")
]


class NoStoreError(InputError):
    """There is no store where one was looked for."""

    remedy = "Name it with --store or $MOINHO_STORE, or make one with `moinho run`."


def settings_with(settings: list[str] | None, snapshot: str | None) -> list[str]:
    """What was given by `--set`, and the date of a snapshot as if it had been."""
    given = [f"crawl.snapshot={snapshot}"] if snapshot is not None else []
    return [*(settings or ()), *given]


def load_configuration(
    path: Path, settings: list[str] | None, name: str | None, store: str | None
) -> "WebToModel":
    """The configuration with all that was given beside the file. Raises ConfigurationError."""
    from flows.configuration import load
    from flows.web_to_model import WebToModel

    given = list(settings or [])
    if name is not None:
        given.append(f"name={json.dumps(name)}")
    if store is not None:
        given.append(f"compute.store={json.dumps(store)}")
    return load(WebToModel, path, given)


def print_table(table: "Table") -> None:
    """As wide as the terminal; elsewhere no line is broken, so that what is written can be searched."""
    # rich makes no table wider than its console, whatever width is asked for
    wide = console if console.is_terminal else Console(file=console.file, width=UNBROKEN)
    wide.print(table)


def many_rows(headings: Sequence[str], rows: Sequence[Sequence[str]], folded: Collection[str]) -> "Table":
    """A table without lines. What is too wide is folded in the columns that are to be copied from, and cut in
    the others.

    rich takes half a millisecond for each row, however tall: rows that fit are put together to tall ones,
    which look the same.
    """
    from rich.cells import cell_len
    from rich.table import Table

    table = Table(*headings, box=None, pad_edge=False)
    for column, heading in zip(table.columns, headings, strict=True):
        column.overflow = "fold" if heading in folded else "ellipsis"
    columns = zip(headings, *rows, strict=True)
    widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
    if sum(widths) + GAP * (len(headings) - 1) <= console.width:
        parts = (rows[first : first + ROWS_TOGETHER] for first in range(0, len(rows), ROWS_TOGETHER))
        rows = [list(map("\n".join, zip(*map(_of_one_height, part), strict=True))) for part in parts]
    for row in rows:
        table.add_row(*row)
    return table


def _of_one_height(row: Sequence[str]) -> list[str]:
    """The cells with as many lines as the tallest of them has."""
    height = max(cell.count("\n") for cell in row)
    return [cell + "\n" * (height - cell.count("\n")) for cell in row]


def open_store(root: str | None, needed: bool = True) -> "Store":
    """The store to look into; a model may also be given as a folder, without one. Raises NoStoreError."""
    from pipeline.store import Store
    from pipeline.store.verify import is_store

    storage = (store := Store(root or DEFAULT_STORE)).storage
    folder = storage.local("")
    if folder is not None and folder.is_file():
        raise NoStoreError(f"{folder} is a file, and a store is a folder; name another with --store")
    if needed and not storage.exists(""):
        raise NoStoreError(
            f"there is no store at {storage.address}: name another with --store, "
            "or make one with `moinho run`"
        )
    if needed and not is_store(storage):
        raise NoStoreError(
            f"{storage.address} is no store of moinho: {_content(storage)}; name another with --store "
            f"or $MOINHO_STORE, or make one with `moinho run CONFIG`"
        )
    return store


def _content(storage: "Storage") -> str:
    """What there is in place of artifacts, in words."""
    try:
        found = storage.list()
    except PermissionError:
        return "it may not be read"
    if not found:
        return "it is empty"
    more = f" and {len(found) - SHOWN_NAMES} more" if len(found) > SHOWN_NAMES else ""
    return f"it has {', '.join(found[:SHOWN_NAMES])}{more}, but nothing that a run makes"


def as_typed(
    command: str,
    path: Path,
    settings: list[str] | None,
    name: str | None,
    store: str | None,
    until: str | None = None,
) -> list[str]:
    """The words of a command, to be typed again. A store from the environment is written out."""
    words = ["moinho", command, str(path)]
    for setting in settings or ():
        words += ["--set", setting]
    given = {"--name": name, "--store": store, "--until": until}
    return words + [word for option, value in given.items() if value for word in (option, value)]


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
