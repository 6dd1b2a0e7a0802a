"""`moinho ls`, `show`, `verify`, `rm`, `gc`: what is in the store, whether it is whole, what can go."""

import dataclasses
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, track
from rich.table import Table
from rich.tree import Tree

from flows.commands.options import AsJson, Reference, StoreRoot, console, many_rows, open_store, print_json
from pipeline.errors import InputError

if TYPE_CHECKING:
    from flows.inspection import Ancestor
    from pipeline.store import Artifact, Store
    from pipeline.store.verify import Findings

progress_console = Console(stderr=True)
"""Bars go where they do not mix with what is piped on."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class NotConfirmedError(InputError):
    """Something would be removed, and there was no terminal to ask on."""

    remedy = "Add --yes to do it, or --dry-run to only look."


def ls(
    word: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A run, a name or a stage. Default: all.")
    ] = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the artifacts in the store by name and key."""
    from flows.listing import listing

    rows = listing(open_store(store), word)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        console.print("The store is empty. `moinho run configs/quickstart.toml` fills it.")
        return
    cells = [
        ("\n".join(row.names) or "[dim]-[/dim]", f"{row.stage}/{row.key}", _size(row.bytes), row.started[:10])
        for row in rows
    ]
    headings = ("name", "artifact", "size", "made")
    console.print(many_rows(headings, cells, folded=headings))


def show(
    artifact: Reference,
    figures: Annotated[bool, typer.Option("--figures", help="The figures, and what each means.")] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show the record of one artifact, and what it was made from as a tree."""
    from flows.inspection import lineage, record_lines
    from flows.references import find_artifact

    home = open_store(store)
    found = find_artifact(home, artifact)
    if figures:
        _show_figures(found, as_json)
        return
    if as_json:
        print_json(found.record.model_dump(mode="json"))
        return
    for label, value in record_lines(found):
        console.print(f"[bold]{label:<10}[/bold] {escape(value)}", soft_wrap=True)
    names = {target: name for name, target in home.named().items()}
    console.print(_tree(lineage(found.storage, found.stage, found.key), names))


def _show_figures(artifact: "Artifact", as_json: bool) -> None:
    from flows.display import number
    from flows.figures import figures

    found = figures(artifact.record)
    if as_json:
        print_json([dataclasses.asdict(figure) for figure in found])
        return
    if not found:
        console.print(f"The stage {artifact.stage} measures nothing beside its counts.")
        return
    table = Table("figure", "value", "meaning", box=None, pad_edge=False)
    for figure in found:
        table.add_row(figure.name, number(figure.value), figure.meaning)
    console.print(table)


def verify(
    artifact: Annotated[
        str | None, typer.Argument(metavar="ARTIFACT", help="A name, a key or its beginning. Default: all.")
    ] = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Check every file against its SHA-256, and say what to make again. Exit code 1 if something is wrong."""
    from flows.references import find_base
    from pipeline.store.verify import verify as verify_store

    home = open_store(store)
    bases = None if artifact is None else [find_base(home, artifact)]
    with Progress(*Progress.get_default_columns(), console=progress_console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        found = verify_store(
            home, bases, lambda done, total: progress.update(task, completed=done, total=total)
        )
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        _tell_findings(found, home, store)
    raise typer.Exit(1 if found.faults else 0)


def rm(
    artifact: Reference,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Also everything that was made from it.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    store: StoreRoot = None,
) -> None:
    """Discard an artifact, such as a damaged one; its run makes it again."""
    from flows.references import find_base, with_names
    from pipeline.store.discard import discard
    from pipeline.store.store import names_by_base
    from pipeline.store.verify import made_from

    home = open_store(store)
    base, names = find_base(home, artifact), names_by_base(home.named())
    again = _again("plan", [base], home, store)
    records = {f"{record.stage}/{record.key}": record for record in home.records()}
    hanging = made_from(records, {base})
    going = [*reversed(hanging), base] if downstream else [base]
    sizes = {each: sum(home.storage.sizes(each).values()) for each in going}
    for each, size in sizes.items():
        console.print(f"{with_names(each, names)}  {size / 1e6:,.1f} MB", soft_wrap=True)
    console.print(f"in all: {_total(len(going), 0, sum(sizes.values()))}")
    if hanging and not downstream:
        console.print("what was made from it stays:")
        for each in hanging:
            console.print(f"  [dim]{with_names(each, names)}[/dim]", soft_wrap=True)
        console.print(
            "It is used again if what is discarded is made again with the same content; "
            "--downstream discards it too."
        )
    if _agreed(dry_run, yes, f"Discard {len(going)} of the store at {home.storage.root}?"):
        discard(home, *going)
        console.print(f"discarded {len(going)}; `moinho run` makes what is missing, and what that is tells:")
        console.print(f"  [bold]{escape(again)}[/bold]", soft_wrap=True)


def gc(
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also what was begun, and a later run could go on with.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    store: StoreRoot = None,
) -> None:
    """Remove what nothing named needs: unnamed artifacts, overtaken attempts, journals of sent runs."""
    from pipeline.store.discard import collect, leftovers
    from pipeline.store.store import names_by_base

    home = open_store(store)
    with console.status("looking for what nothing needs"):
        found = leftovers(home)
    going = [*found.artifacts, *found.attempts, *found.runs, *found.names]
    if unfinished:
        going += found.unfinished
    names = names_by_base(home.named())
    cells = [
        (piece.path, ", ".join(names.get(_base(piece.path), ["-"])), piece.why, _size(piece.bytes))
        for piece in going
    ]
    if going:
        console.print(many_rows(("what", "name", "why", "size"), cells, folded=("what", "name")))
    if found.unfinished and not unfinished:
        size = sum(piece.bytes for piece in found.unfinished)
        console.print(
            f"{len(found.unfinished)} begun and not finished stay ({size / 1e6:,.1f} MB); "
            "--unfinished removes them too"
        )
    if not going:
        console.print("There is nothing to remove: everything hangs on a name.")
        return
    artifacts = len(found.artifacts) + (len(found.unfinished) if unfinished else 0)
    total = _total(artifacts, len(going) - artifacts, sum(piece.bytes for piece in going))
    console.print(f"in all: {total}")
    if _agreed(dry_run, yes, f"Remove {total}?"):
        for piece in track(
            collect(home, going), "removing", len(going), console=progress_console, transient=True
        ):
            del piece
        console.print(f"removed: {total}")


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _base(path: str) -> str:
    """`stage/key` of what lies there."""
    return "/".join(path.split("/")[:2])


def _total(artifacts: int, others: int, size: int) -> str:
    """Such as 2 artifacts and 1 other piece, 12.3 MB."""
    from flows.display import counted

    rest = f" and {counted(others, 'other piece')}" if others else ""
    return f"{counted(artifacts, 'artifact')}{rest}, {size / 1e6:,.1f} MB"


def _agreed(dry_run: bool, yes: bool, question: str) -> bool:
    """Whether to go on. Raises InputError where nobody can be asked."""
    if dry_run:
        console.print("Nothing was removed: this was a dry run.")
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise NotConfirmedError("nothing was removed: add --yes to do it, or --dry-run to only look")
    if not typer.confirm(question):
        console.print("Nothing was removed.")
        return False
    return True


def _again(word: str, bases: list[str], home: "Store", store: str | None) -> str:
    """The command (`run` or `plan`) with the configuration that the first of the artifacts was made by.

    Its run's journal knows that, as long as it is there. The store is the one that was looked into.
    """
    from flows.inspection import commands

    found = commands(home.storage)
    typed = next((found[base] for base in bases if base in found), ["moinho", word, "CONFIG"])
    kept = ["moinho", word]
    rest = iter(typed[2:])
    for each in rest:
        if each in ("--store", "--address"):
            next(rest, None)
        else:
            kept.append(each)
    return shlex.join([*kept, *([] if store is None else ["--store", store])])


def _tell_findings(found: "Findings", home: "Store", store: str | None) -> None:
    """A line per fault, what to do about each artifact, and a summary."""
    from flows.display import counted
    from flows.references import with_names
    from pipeline.store.store import names_by_base

    names = names_by_base(home.named())
    for fault in found.faults:
        base = escape(with_names(fault.base, names))
        console.print(f"[red]{base}[/red]  {escape(fault.what)}", soft_wrap=True)
    looked_at = (
        f"{counted(found.artifacts, 'artifact')}, {found.unfinished} unfinished, "
        f"{counted(found.files, 'file')}, {found.bytes / 1e6:,.1f} MB read"
    )
    for base, given in found.gone:
        told = f"{with_names(base, names)} was made from {given}, which is no longer in the store"
        console.print(f"[dim]{escape(told)}[/dim]", soft_wrap=True)
    if found.gone:
        again = _again("run", [base for base, _ in found.gone], home, store)
        console.print(
            "[dim]That is no fault: what is here is whole, and nothing needs to be done to use it. "
            f"To have the rest again, run its configuration again: {escape(again)}[/dim]",
            soft_wrap=True,
        )
    if not found.faults:
        console.print(f"[green]sound[/green]: {looked_at}")
        return
    told = f"{counted(len(found.faults), 'fault')} in {looked_at}"
    console.print(f"[red]not sound[/red]: {told}. To make again what is damaged:")
    here = [] if store is None else ["--store", store]
    bases = list(dict.fromkeys(fault.base for fault in found.faults))
    for base in bases:
        command = shlex.join(["moinho", "rm", base, *here])
        console.print(f"  [bold]{escape(command)}[/bold]", soft_wrap=True)
    console.print("then run its configuration again; what is sound is reused:")
    console.print(f"  [bold]{escape(_again('run', bases, home, store))}[/bold]", soft_wrap=True)


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
