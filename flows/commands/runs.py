"""`moinho run` and `config`: what begins with a configuration file."""

import shlex
import sys

import typer
from rich.console import Console

from flows.commands.options import (
    ConfigPath,
    Name,
    Settings,
    Snapshot,
    StoreRoot,
    Until,
    as_typed,
    load_configuration,
    settings_with,
)


def run(
    config: ConfigPath,
    settings: Settings = None,
    snapshot: Snapshot = None,
    name: Name = None,
    store: StoreRoot = None,
    until: Until = None,
) -> None:
    """Run the flow; finished stages are reused, an interrupted one goes on.

    CONFIG says what is read: pages that are crawled (section crawl), files and data sets (sections
    [[sources]], as in configs/files.toml), or both.
    """
    from flows.run import run as run_flow

    settings = settings_with(settings, snapshot)
    loaded = load_configuration(config, settings, name, store)
    again = shlex.join(as_typed("run", config, settings, name, store, until))
    raise typer.Exit(run_flow(loaded, config, again, Console(soft_wrap=False), until))


def config(config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None) -> None:
    """Print the whole resolved configuration, with every derived value, as TOML."""
    from flows.inspection import as_toml

    loaded = load_configuration(config, settings, name, store)
    sys.stdout.write(as_toml(loaded.with_start()))
