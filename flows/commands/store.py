"""`moinho ls` and `show`: what is in the store."""

import dataclasses
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from flows.commands.options import AsJson, Reference, StoreRoot, console, open_store, print_json

if TYPE_CHECKING:
    from flows.inspection import Ancestor


def ls(store: StoreRoot = None, as_json: AsJson = False) -> None:
    """List the artifacts in the store by name and key."""
    from flows.inspection import listing

    rows = listing(open_store(store))
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
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


def show(artifact: Reference, store: StoreRoot = None, as_json: AsJson = False) -> None:
    """Show the record of one artifact, and what it was made from as a tree."""
    from flows.inspection import lineage, record_lines
    from flows.references import find_artifact

    home = open_store(store)
    found = find_artifact(home, artifact)
    if as_json:
        print_json(found.record.model_dump(mode="json"))
        return
    for label, value in record_lines(found):
        console.print(f"[bold]{label:<10}[/bold] {escape(value)}", soft_wrap=True)
    names = {target: name for name, target in home.named().items()}
    console.print(_tree(lineage(found.storage, found.stage, found.key), names))


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
