"""`moinho run`, `plan` and `config`: what begins with a configuration file."""

import dataclasses
import sys

import typer
from rich.console import Console
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


def run(config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None) -> None:
    """Run the flow; finished stages are reused, an interrupted one goes on."""
    from flows.run import run as run_flow

    loaded, given = load_configuration(config, settings, name, store)
    raise typer.Exit(run_flow(loaded, config, given, Console(soft_wrap=False)))


def plan(
    config: ConfigPath,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say for each stage whether it is in the store or to be made, with its work; make nothing."""
    from flows.display import number
    from flows.planning import plan as plan_flow

    stages = plan_flow(load_configuration(config, settings, name, store)[0])
    if as_json:
        print_json([dataclasses.asdict(stage) for stage in stages])
        return
    table = Table("stage", "key", "state", "estimated work")
    for stage in stages:
        work = ", ".join(f"{number(amount)} {unit}" for unit, amount in stage.work.items() if amount)
        state = "[dim]in the store[/dim]" if stage.in_store else "[bold]to be made[/bold]"
        table.add_row(stage.stage, stage.key, state, "" if stage.in_store else work)
    console.print(table)


def config(config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None) -> None:
    """Print the whole resolved configuration, with every derived value, as TOML."""
    from flows.inspection import as_toml

    loaded, _ = load_configuration(config, settings, name, store)
    sys.stdout.write(as_toml(loaded))
