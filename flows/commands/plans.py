"""`moinho plan`: what a run would make, and what that would take."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.commands.options import (
    AsJson,
    ConfigPath,
    Name,
    Settings,
    Snapshot,
    StoreRoot,
    Until,
    console,
    load_configuration,
    print_json,
    settings_with,
)

if TYPE_CHECKING:
    from flows.planning import Plan, PlannedStage

COUNTED = ("pages", "kept", "documents", "steps", "conversations", "questions")
"""What a line of the table counts, beside bytes, tokens and operations."""
Machine = Annotated[
    str | None,
    typer.Option(
        "--machine", help="Plan for a rented machine, such as 8xh100, in place of this one.", metavar="NxGPU"
    ),
]
Price = Annotated[
    float | None, typer.Option("--price", help="Dollars for an hour of one GPU of --machine.", min=0)
]
Recalibrate = Annotated[bool, typer.Option("--recalibrate", help="Measure this machine's speed anew.")]


def plan(
    config: ConfigPath,
    settings: Settings = None,
    snapshot: Snapshot = None,
    name: Name = None,
    store: StoreRoot = None,
    until: Until = None,
    machine: Machine = None,
    price: Price = None,
    recalibrate: Recalibrate = False,
    as_json: AsJson = False,
) -> None:
    """Say what a run would reuse and make, and what that takes: work, memory, time. Make nothing.

    Times are those of this machine, which the first plan measures, or of one that could be rented.
    """
    from flows.planning import plan as plan_flow
    from flows.rented import rented

    if price is not None and machine is None:
        raise typer.BadParameter("--price is of a machine that is rented; add such as --machine 8xh100")
    on = None if machine is None else rented(machine, price)

    loaded = load_configuration(config, settings_with(settings, snapshot), name, store)
    with _measuring() as tell:
        found = plan_flow(loaded, tell, recalibrate, until, on)
    if as_json:
        print_json(_as_json(found))
    else:
        _show(found)


@contextlib.contextmanager
def _measuring() -> Iterator[Callable[[str], None]]:
    """Prints lines on stderr; on a terminal the seconds since the first run on below them."""
    told = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=told, transient=True, disable=not told.is_terminal) as progress:

        def tell(line: str) -> None:
            told.print(line, soft_wrap=True)
            if not progress.tasks:
                progress.add_task("measuring", total=None)

        yield tell


def _as_json(found: "Plan") -> dict[str, object]:
    """Raw numbers; the unit is in the name, and what does not apply is null."""
    total = {"seconds": found.seconds, "flops": found.flops, "memory_bytes": found.memory_bytes}
    total |= {"disk_bytes": found.disk_bytes, "gpu_seconds": found.gpu_seconds, "dollars": found.dollars}
    return {**dataclasses.asdict(found), "total": total, "rates": found.rates and found.rates.model_dump()}


def _show(found: "Plan") -> None:
    from flows.display import duration

    table = Table("stage", "key", "state", "work", box=None, pad_edge=False)
    table.add_column("memory per worker", justify="right")
    table.add_column("disk", justify="right")
    table.add_column("time", justify="right")
    for stage in found.stages:
        state = "[bold]to be made[/bold]"
        if stage.in_store:
            condition = f", if {stage.if_same} comes out the same" if stage.if_same else ""
            state = f"[dim]in the store{condition}[/dim]"
        memory, time = "", ""
        if stage.memory_bytes is not None and stage.seconds is not None:
            memory, time = _bytes(stage.memory_bytes), duration(stage.seconds)
        table.add_row(stage.stage, stage.key, state, ", ".join(_work(stage)), memory, _disk(stage), time)
    console.print(table)
    if made := found.to_be_made:
        time = "time not known" if found.seconds is None else f"about {duration(found.seconds)}"
        told = f"{len(made)} of {len(found.stages)} stages to be made: {time}"
        flops = f", {_flops(found.flops)}" if found.flops else ""
        most = f", {_most_memory(found)}" if found.memory_bytes else ""
        disk = f", {_bytes(found.disk_bytes)} of disk" if found.rented is None else ""
        console.print(f"\n[bold]{told}[/bold]{flops}{most}{disk}")
        if found.rented is not None:
            console.print(f"[bold]{cost_line(found)}[/bold]", soft_wrap=True)
    else:
        console.print("\n[bold]nothing to be made[/bold]: a run reuses every stage")
    for told in found.assumptions:
        console.print(f"[dim]{escape(told)}[/dim]", soft_wrap=True)
    if found.differences:
        console.print("[yellow]made with other code or versions, and reused all the same:[/yellow]")
    for difference in found.differences:
        console.print(f"[yellow]  {escape(difference.line())}[/yellow]", soft_wrap=True)


def _most_memory(found: "Plan") -> str:
    """Of the largest process; on a rented machine of the fullest GPU."""
    if found.rented is None:
        has = _bytes(found.machine_bytes)
        return f"a process of at most {_bytes(found.memory_bytes or 0)} (this machine has {has})"
    return f"at most {_bytes(found.gpu_bytes)} of a GPU's {_bytes(found.machine_bytes)}"


def cost_line(found: "Plan") -> str:
    """What renting the machine comes to, in words, with the time of a crawl, which needs no such machine."""
    from flows.display import duration

    assert found.rented is not None
    hours = found.gpu_seconds / 3600 * found.rented.count
    others = (found.seconds or 0) - found.gpu_seconds
    crawl = next((stage.seconds for stage in found.stages if stage.stage == "crawl" and stage.seconds), None)
    apart = "" if crawl is None else f", of which the crawl {duration(crawl)}"
    return (
        f"on {found.rented.name}: {duration(found.gpu_seconds)} with GPUs ({hours:,.1f} GPU-hours, "
        f"${found.dollars:,.0f}), {duration(others)} without{apart}; {_bytes(found.disk_bytes)} of disk"
    )


def _disk(stage: "PlannedStage") -> str:
    return _bytes(stage.disk_bytes) if stage.disk_bytes else ""


def _work(stage: "PlannedStage") -> Iterator[str]:
    from flows.display import number
    from flows.figures import counted_as

    for unit in COUNTED:
        if stage.work.get(unit):
            yield f"{number(round(stage.work[unit]))} {counted_as(stage.stage, unit)}"
    if stage.bytes:
        yield _bytes(stage.bytes)
    if stage.tokens:
        yield f"{number(float(f'{stage.tokens:.3g}'))} tokens"
    if stage.flops:
        yield _flops(stage.flops)


def _bytes(amount: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if amount >= size:
            return f"{amount / size:,.1f} {unit}" if unit == "GB" else f"{amount / size:,.0f} {unit}"
    return f"{amount / 1e3:,.0f} kB"


def _flops(amount: float) -> str:
    return f"{amount:.2g} FLOP"
