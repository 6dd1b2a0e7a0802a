"""What `moinho sweep` tells before and after: what it takes, and what was found."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.display import duration
from flows.planning import plan_of
from flows.web_to_model import WebToModel, web_to_sweep
from pipeline.training.sweep import Sweep, SweepPlan, Trial
from pipeline.training.sweep_plots import LAW, RATES

SHOWN_TRIALS = 40
BY_DEPTH = ("steps", "batch_tokens", "learning_rate")
"""What follows from depth unless it is set."""


def tell_plan(config: WebToModel, console: Console, measure: bool) -> None:
    """The axes, how many trials they make, and how long that takes; with `measure` this machine is measured
    first if it was not yet. Raises what a sweep that is not possible raises."""
    planned = SweepPlan(pretrain=config.pretrain, sweep=config.sweep)
    trials = planned.trials()
    console.print(_planned(planned, trials, config))
    if warning := _same_for_all_depths(planned):
        console.print(f"[yellow]{escape(warning)}[/yellow]", soft_wrap=True)
    found = plan_of(
        web_to_sweep, config, lambda told: console.print(f"[dim]{escape(told)}[/dim]"), measure=measure
    )
    made = found.to_be_made
    if not made:
        console.print(f"{len(trials)} trials: in the store already")
        return
    beside = [stage.stage for stage in made if stage.stage != Sweep.stage]
    first = f", after {', '.join(beside)}" if beside else ""
    if found.seconds is not None:
        time = f"about {duration(found.seconds)} at most"
    else:
        time = "time not known: `--plan` measures this machine"
    console.print(
        f"[bold]{len(trials)} trials[/bold]{first}: {found.flops:.2g} FLOP, {time}", highlight=False
    )


def _planned(planned: SweepPlan, trials: Sequence[Trial], config: WebToModel) -> Table:
    """The trials as they will be, each with its share of the work."""
    flops = [trial.flops(config.vocabulary.pieces, config.tokens.row_tokens) for trial in trials]
    axes = list(planned.axes())
    table = Table(title=f"{len(trials)} trials", title_justify="left")
    for column in (*axes, "steps", "batch tokens", "learning rate", "FLOP", "share"):
        table.add_column(column, justify="right")
    for trial, own in list(zip(trials, flops, strict=True))[:SHOWN_TRIALS]:
        recipe = trial.config.recipe()
        table.add_row(
            *(str(trial.point[axis]) for axis in axes),
            *(f"{recipe.steps:,}", f"{recipe.batch_tokens:,}", f"{recipe.learning_rate:.3g}"),
            *(f"{own:.2g}", f"{own / sum(flops):.1%}"),
        )
    if len(trials) > SHOWN_TRIALS:
        table.caption = f"and {len(trials) - SHOWN_TRIALS} more"
    return table


def _same_for_all_depths(planned: SweepPlan) -> str | None:
    """What to know where depths are compared, and the file sets what follows from depth."""
    if "depth" not in planned.axes():
        return None
    fixed = [name for name in BY_DEPTH if name in planned.pretrain.model_fields_set - planned.axes().keys()]
    if not fixed:
        return None
    told = ", ".join(f"pretrain.{name} = {getattr(planned.pretrain, name)}" for name in fixed)
    unset = " ".join(f"--set pretrain.{name}=" for name in fixed)
    return f"{told} holds for every depth; for a scaling law let it follow from the depth: {unset}"


def tell_sweep(made: Sweep, name: str, console: Console) -> None:
    """All trials by their place on the axes, what was found, the pictures, what to set."""
    table = made.table()
    console.print(_trials(table["trials"]))
    found = table["findings"]
    if found["best"] is None:
        console.print("[yellow]no trial came to an end: the loss of each became infinite[/yellow]")
        return
    _tell_rates(found, console)
    _tell_law(found["law"], console)
    for picture in (LAW, RATES):
        if picture in made.names():
            console.print(f"picture: {made.path(picture)}", soft_wrap=True)
    if found["settings"]:
        words = [f"pretrain.{setting}={value}" for setting, value in found["settings"].items()]
        settings = " ".join(f"--set {shlex.quote(word)}" for word in words)
        console.print(
            f"\nto set, for trainings of {found['best']['steps']:,} steps (longer ones like lower rates): "
            f"[bold]{escape(settings)}[/bold]",
            soft_wrap=True,
            highlight=False,
        )
    console.print(
        f"[bold]moinho ui[/bold] compares the trials' curves; all figures: {made.path('sweep.json')}",
        soft_wrap=True,
    )


def _trials(trials: list[Mapping[str, Any]]) -> Table:
    """The best first."""
    axes = list(trials[0]["point"])
    table = Table(title="trials by held-out bits per byte", title_justify="left")
    for column in (*axes, "FLOP", "steps", "bits per byte"):
        table.add_column(column, justify="right")
    reached = sorted(trials, key=lambda trial: trial["bits_per_byte"] or float("inf"))
    for trial in reached[:SHOWN_TRIALS]:
        bits = trial["bits_per_byte"]
        table.add_row(
            *(str(trial["point"][axis]) for axis in axes),
            f"{trial['flops']:.2g}",
            str(trial.get("steps", "")),
            f"{bits:.4f}" if bits is not None else "diverged" if "seconds" in trial else "lost",
        )
    if len(trials) > SHOWN_TRIALS:
        table.caption = f"{len(trials) - SHOWN_TRIALS} more in sweep.json"
    return table


def _tell_rates(found: Mapping[str, Any], console: Console) -> None:
    for group in found["rates"]:
        if len(group["bits_per_byte"]) < 2:
            continue
        shared = " ".join(f"{axis}={value}" for axis, value in group["shared"].items()) or "all trials"
        beyond = "" if group["inside"] else ", at the end of what was tried: try more beyond it"
        _say(
            console,
            f"{shared}: best learning rate {group['best_rate']:.3g} (the dial: {group['derived_rate']:.3g})"
            f"{beyond}",
        )
    for each in found["transfer"]:
        _say(
            console,
            f"from depth {each['from_depth']} to {each['to_depth']}: the rule foretells "
            f"{each['foretold']:.3g}, found {each['found']:.3g}, a factor of {each['factor']:.2f}",
        )


def _tell_law(law: Mapping[str, Any] | None, console: Console) -> None:
    if law is None:
        console.print("no scaling law: the best trials are all of one compute; try several depths")
        return
    _say(console, f"scaling law of {len(law['envelope'])} best trials: {law['formula']}")
    for each in law["foretold"]:
        known = (
            f"{each['low']:.3f} to {each['high']:.3f} without one of the points"
            if law["others"]
            else "too few points to say how far that may be off"
        )
        _say(console, f"  {each['flops']:.2g} FLOP: {each['bits_per_byte']:.3f} bits per byte ({known})")


def _say(console: Console, line: str) -> None:
    """A line of figures, as long as it is."""
    console.print(line, highlight=False, soft_wrap=True)
