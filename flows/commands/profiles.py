"""`moinho profile`: where the time of a training goes."""

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.options import (
    AsJson,
    ConfigPath,
    Name,
    Settings,
    StoreRoot,
    console,
    load_configuration,
    print_json,
)

TOLD = 5
"""Operations that are printed; the page has more."""


def profile(
    config: ConfigPath,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps that are timed and profiled.")] = 10,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    out: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Where trace and summary are written; all workers must see it."),
    ] = "profiles",
    as_json: AsJson = False,
) -> None:
    """Train a few steps of CONFIG's pretraining and write where their time goes; keep no model.

    It takes the rows of the store if they are there, else noise of the same shape.
    """
    from flows.profiling import SUMMARY, parts_of
    from flows.profiling import profile as profile_steps

    found = profile_steps(load_configuration(config, settings, name, store), steps, out)
    if as_json:
        print_json({"folder": found.folder, **dataclasses.asdict(found.profile)})
        return
    figures = found.profile.figures
    mfu = f", MFU {figures['mfu']:.1%}" if "mfu" in figures else ""
    console.print(
        f"[bold]{figures['tokens_per_second']:,.0f} tokens/s[/bold]{mfu}, "
        f"{figures['step_seconds'] * 1e3:,.1f} ms a step, {found.profile.workers} × {found.profile.device}, "
        f"{escape(found.profile.rows)}",
        soft_wrap=True,
    )
    table = Table("where", "ms a step", "share", box=None, pad_edge=False)
    for part, seconds in parts_of(found.profile).items():
        table.add_row(part, f"{seconds * 1e3:,.1f}", f"{seconds / figures['step_seconds']:.1%}")
    console.print(table)
    console.print("[dim]operations that take most, under the profiler and over all threads:[/dim]")
    for each in found.profile.operations[:TOLD]:
        console.print(
            f"[dim]{each.seconds / found.profile.steps * 1e3:8,.1f} ms  {escape(each.name[:80])}[/dim]"
        )
    console.print(f"{found.folder}/{SUMMARY}, with the trace beside it", soft_wrap=True)
