"""`moinho ui` and `doctor`: what is served on this machine, and what it has."""

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape

from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, console, open_store, print_json

COLOURS = {"ok": "green", "limited": "yellow", "missing": "red"}


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    store: StoreRoot = None,
) -> None:
    """Open the MLflow UI on the store's runs, at http://127.0.0.1:5000."""
    console.print("starting MLflow ...")
    from pipeline.tracking import serve_ui

    def tell(address: str) -> None:
        console.print(f"MLflow on {address} (Ctrl-C ends it)")

    raise typer.Exit(serve_ui(open_store(store).storage, port=port, tell=tell))


def doctor(store: StoreRoot = None, as_json: AsJson = False) -> None:
    """Say what this machine has, what is lost without the rest, and how to get it.

    The exit code is 0 if the quickstart can run here, otherwise 1.
    """
    from flows.doctor import can_run_quickstart, examine

    findings = examine(store or DEFAULT_STORE)
    runs = can_run_quickstart(findings)
    if as_json:
        print_json({"quickstart": runs, "findings": [dataclasses.asdict(each) for each in findings]})
        raise typer.Exit(0 if runs else 1)
    indent = " " * 9
    for each in findings:
        colour = COLOURS[each.state]
        console.print(
            f"[{colour}]{each.state:<8}[/{colour}] [bold]{escape(each.what)}[/bold]: {escape(each.found)}",
            soft_wrap=True,
        )
        for label, told in (("so", each.lost), ("do", each.remedy)):
            if told and each.state != "ok":
                console.print(f"{indent}{label}: {escape(told)}", soft_wrap=True)
    if runs:
        console.print("\nThe quickstart can run here: moinho run configs/quickstart.toml")
    else:
        lacking = ", ".join(each.what for each in findings if each.needed and each.state == "missing")
        console.print(
            f"\n[red]The quickstart cannot run here[/red] for want of: {escape(lacking)}", soft_wrap=True
        )
    raise typer.Exit(0 if runs else 1)
