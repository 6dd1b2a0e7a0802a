"""`moinho forget`: what somebody asked to have left out, what has it already, and what a rebuild takes."""

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import AsJson, StoreRoot, console, open_store, print_json
from pipeline.errors import InputError

if TYPE_CHECKING:
    from flows.forgetting import Aftermath, Holder
    from pipeline.corpus.forgotten import ForgottenEntry
    from pipeline.store import Store

RULES_TOLD = 10


class NotForgottenError(InputError):
    """Something was to be taken back that is not left out."""

    remedy = "`moinho forget` without anything behind it lists what is left out."


def forget(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST|URL]...",
            help="A host with all below it, a URL (that page alone), or, in quotes, a URL with * at its end "
            "(all that begin so); of files a place as `moinho corpus dropped` prints it. Default: list what "
            "is left out.",
        ),
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="A file with more of them, one a line.")
    ] = None,
    note: Annotated[str, typer.Option(help="Who asked, or why; kept with the entry.")] = "",
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Let it in again from now on. Nothing is fetched by that.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what has it, and write nothing.")
    ] = False,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Where models are registered. Default: $MLFLOW_TRACKING_URI, or the store."),
    ] = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Leave a site or a page out of all that is made in this store from now on, by any configuration.

    No crawl asks for it any more, and the next run of each configuration makes its corpus, tokens and models
    anew without it. What is in the store already stays until you remove it: this tells what has it.
    """
    from flows.forgetting import aftermath, rules_from
    from pipeline.corpus.forgotten import Forgotten, entries_in, forgotten_in, write_entry
    from pipeline.tracking.destination import Destination

    rules = rules_from(what or (), listed)
    home = open_store(store, needed=not rules or take_back or dry_run)
    there = forgotten_in(home.storage)
    if not rules:
        _tell_entries(list(entries_in(home.storage)), there.rules, as_json)
        return
    if take_back:
        _take_back(home, rules, there.rules, note, dry_run=dry_run, as_json=as_json)
        return
    new = [rule for rule in rules if rule not in there.rules]
    is_new_store = not home.storage.exists("")
    if new and not dry_run:
        write_entry(home.storage, new, note)
    with Console(stderr=True).status("looking for what has it"):
        found = aftermath(home, Forgotten(frozenset(rules)), Destination.of(home.storage, mlflow))
    if as_json:
        told = {**dataclasses.asdict(found), "seconds_by_run": found.seconds_by_run}
        print_json({"rules": rules, "new": new, "dry_run": dry_run, **told})
        return
    if new:
        _tell_rules("would be left out" if dry_run else "left out from now on", new)
    if old := [rule for rule in rules if rule in there.rules]:
        _tell_rules("left out already", old)
    _tell_aftermath(found)
    if is_new_store:
        _tell_new_store(home.storage.address)


def _take_back(
    home: "Store", rules: Sequence[str], there: frozenset[str], note: str, *, dry_run: bool, as_json: bool
) -> None:
    """Raises NotForgottenError."""
    from pipeline.corpus.forgotten import write_entry

    if unknown := [rule for rule in rules if rule not in there]:
        raise NotForgottenError(
            f"{', '.join(unknown[:RULES_TOLD])}: not left out in the store at {home.storage.address}, so "
            "nothing was taken back"
        )
    if not dry_run:
        write_entry(home.storage, rules, note, taken_back=True)
    if as_json:
        print_json({"taken_back": rules, "dry_run": dry_run})
    else:
        _tell_rules("would be left out no longer" if dry_run else "left out no longer", rules)


def _tell_new_store(address: str) -> None:
    console.print(
        f"[yellow]There was no store at {escape(address)}: this list begins it. If another one was meant, "
        "name it with --store.[/yellow]",
        soft_wrap=True,
    )


def _tell_rules(state: str, rules: Sequence[str]) -> None:
    told = f"{', '.join(rules[:RULES_TOLD])}{_more(rules)}"
    console.print(f"[bold]{state}[/bold]: {escape(told)}", soft_wrap=True)
    fronts = [
        rule for rule in rules if rule.startswith("https://") and rule.count("/") == 3 and rule[-1] == "/"
    ]
    if fronts:
        console.print(
            f"[dim]of {escape(', '.join(fronts[:RULES_TOLD]))} the front page alone; a whole site is written "
            "without https://[/dim]",
            soft_wrap=True,
        )


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - RULES_TOLD:,} more" if len(names) > RULES_TOLD else ""


def _tell_entries(entries: "Sequence[ForgottenEntry]", rules: frozenset[str], as_json: bool) -> None:
    """What holds, with when it was asked for; what was taken back is told in JSON alone."""
    if as_json:
        print_json({"rules": sorted(rules), "entries": [entry.model_dump() for entry in entries]})
        return
    if not rules:
        console.print("Nothing is left out. `moinho forget HOST` leaves a site out of all that is made.")
        return
    since = {rule: entry for entry in entries if not entry.taken_back for rule in entry.rules}
    table = Table("left out", "since (UTC)", "note", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for rule in sorted(rules):
        table.add_row(escape(rule), since[rule].at[:16].replace("T", " "), escape(since[rule].note))
    console.print(table)


def _tell_aftermath(found: "Aftermath") -> None:
    from flows.display import duration

    if not found.sources and not found.made:
        console.print("Nothing in this store has any of it.")
    if found.sources:
        console.print("\n[bold]has its pages as they came[/bold]; they stay until you remove them")
        _tell_holders(found.sources)
    if found.made:
        console.print("\n[bold]made with it[/bold]; a run makes these anew without it")
        _tell_holders(found.made)
    if found.unknown:
        told = f"{', '.join(found.unknown[:RULES_TOLD])}{_more(found.unknown)}"
        console.print(
            f"\n[yellow]whether these were made with it is not known, since what they were made from is no "
            f"longer in the store: {escape(told)}[/yellow]",
            soft_wrap=True,
        )
    if found.models:
        console.print(
            "\n[bold]registered models made with it, or from what is no longer in this store[/bold]"
        )
        for name, models in groupby(found.models, key=lambda model: model.name):
            versions = (" ".join([model.version, *map("({})".format, model.aliases)]) for model in models)
            console.print(f"  {escape(name)}: version {escape(', '.join(versions))}", soft_wrap=True)
    if found.unknown_models is not None:
        console.print(
            f"[yellow]which registered models were made with it is not known: {escape(found.unknown_models)}"
            "[/yellow]",
            soft_wrap=True,
        )
    if found.seconds_by_run:
        each = ", ".join(f"{run} {duration(seconds)}" for run, seconds in found.seconds_by_run.items())
        console.print(f"\nrunning again takes about as long as it took: [bold]{escape(each)}[/bold]")
        console.print(
            "(crawl and extraction not counted, which are used again as far as they are in the store). A run "
            "that takes over another's model or text comes after that one. Then remove the pages as they "
            "came (`moinho rm RUN/pages`, `RUN/raw`) and what is old (`moinho gc`). MLflow has its own "
            "copies of models and cards: delete them there. What others have or serve is yours to ask back",
            soft_wrap=True,
        )


def _tell_holders(holders: "Sequence[Holder]") -> None:
    table = Table("artifact", "names", "documents", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    named = [holder for holder in holders if holder.names]
    for holder in named:
        count = "" if holder.documents is None else f"{holder.documents:,}"
        table.add_row(holder.artifact, escape(", ".join(holder.names)), count)
    if named:
        console.print(table)
    if nameless := len(holders) - len(named):
        console.print(f"[dim]and {nameless} to which no name leads; `moinho gc` removes them[/dim]")
