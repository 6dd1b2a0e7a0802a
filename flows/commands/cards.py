"""`moinho corpus card`, `corpus diff`: a corpus on a page, and two of them side by side."""

import dataclasses
import shutil
import tempfile
import webbrowser
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import AsJson, StoreRoot, console, open_store, print_json

if TYPE_CHECKING:
    from pipeline.cards.diff import Overlap, Row

EXAMPLES_TOLD, FIGURES_TOLD = 2, 9
"""URLs of each difference, and figures of each section, in a terminal; the page has more."""


def card(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its tokens or card.")],
    output: Annotated[Path | None, typer.Option(help="Copy it to this file.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """The data card of a corpus, one HTML file with pictures: sources, hosts, languages, what was left out
    and why, licences, personal data, words of people, samples."""
    from flows.cards import card_of
    from pipeline.cards.card import PAGE

    found = card_of(open_store(store), run, Console(stderr=True))
    if as_json:
        print_json(found.facts())
        return
    path = found.path(PAGE)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copyfile(path, output))
    console.print(str(path), soft_wrap=True)
    if show:
        webbrowser.open(path.absolute().as_uri())


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A run's name, or its tokens or card.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same of another corpus.")],
    output: Annotated[Path | None, typer.Option(help="Write it as a page to this file, too.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Two corpora side by side: the pages they share, and what their data cards say."""
    from flows.cards import card_of, corpus_of
    from pipeline.cards.diff import compared, diff_page, overlap, with_hosts_of_both

    home, shown = open_store(store), Console(stderr=True)
    one, other = (card_of(home, name, shown) for name in (first, second))
    shared = overlap(corpus_of(one), corpus_of(other))
    rows = compared(*with_hosts_of_both(one, other))
    if show and output is None:
        output = Path(tempfile.gettempdir()) / f"moinho-diff-{one.key[:8]}-{other.key[:8]}.html"
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(diff_page((first, second), rows, shared, (one, other)), encoding="utf-8")
    if as_json:
        print_json(
            {"pages": dataclasses.asdict(shared), "figures": [dataclasses.asdict(row) for row in rows]}
        )
    else:
        _tell_overlap(shared, first, second)
        _tell_figures(rows, first, second)
    if output is not None:
        Console(stderr=True).print(f"written to {output}", soft_wrap=True)
    if show and output is not None:
        webbrowser.open(output.absolute().as_uri())


def _tell_overlap(shared: "Overlap", first: str, second: str) -> None:
    from pipeline.cards.diff import states

    table = Table("pages", "", "some of them", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    table.columns[2].overflow = "fold"
    for name, count, examples in states(shared, first, second):
        table.add_row(escape(name), f"{count:,}", escape("\n".join(examples[:EXAMPLES_TOLD])))
    console.print(table, "")


def _tell_figures(rows: "Sequence[Row]", first: str, second: str) -> None:
    """A line for each; of long lists the first few."""
    from pipeline.cards.diff import MEANINGS, change, shown

    table = Table("", escape(first), escape(second), "change", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for section, group in groupby(rows, key=lambda row: row.section):
        table.add_row(f"[bold]{MEANINGS[section]}[/bold]")
        for row in list(group)[:FIGURES_TOLD]:
            table.add_row(f"  {escape(row.name)}", shown(row, row.first), shown(row, row.second), change(row))
    console.print(table)
