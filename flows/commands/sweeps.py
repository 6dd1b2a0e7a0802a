"""`moinho sweep`: many small trainings, compared."""

import json
import shlex
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.options import (
    ConfigPath,
    Name,
    Settings,
    StoreRoot,
    as_typed,
    console,
    load_configuration,
)
from pipeline.errors import InputError

Axes = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        metavar="SETTING=VALUES",
        help="A setting of the section pretrain and values to try, such as depth=1,2,4. Repeatable: every "
        "combination is a trial. Takes the place of that axis in [sweep.axes].",
    ),
]
PlanOnly = Annotated[
    bool,
    typer.Option("--plan", help="Say which trials there are and what they take, and start nothing."),
]


class AxisWordError(InputError):
    """An `--axis` is not written as a setting and its values."""

    remedy = "Write --axis SETTING=VALUE,VALUE,…, such as --axis depth=1,2,4."


def sweep(
    config: ConfigPath,
    axes: Axes = None,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    plan: PlanOnly = False,
) -> None:
    """Try settings of pretraining on small models before the large one is paid for.

    Every combination of the axes is trained on the run's tokens, one process each, as many at once as there
    are CPUs (or GPUs). Corpus, vocabulary and tokens are made as a run makes them, or reused. Killed and
    started again, it goes on: finished trials are not trained again.

    What comes out: a table of all trials; the best **learning rate** by depth (lowest point of a parabola),
    and whether that of one depth foretells that of another; the **scaling law**, loss against compute, with
    its extrapolation; what to set. In MLflow each trial is a run of its own below the sweep's: mark them and
    choose *Compare*.

    Without axes a quarter, half and all of `pretrain.depth` are tried, each at half, once and twice its
    learning rate. `learning_rate_factor` is an axis too: it multiplies what each trial would have. For a law
    that can be trusted try four depths or more, each with the steps that `tokens_per_parameter` asks for
    (`--set pretrain.steps=` takes away what the file sets), and give the axis `seed` two values or three.

    In the file an axis is a line below `[sweep.axes]`, such as `depth = [1, 2, 4]`.
    """
    from flows.run import sweep as run_sweep
    from flows.sweeps import tell_plan

    given = [*(settings or ()), *map(_setting, axes or ())]
    loaded = load_configuration(config, given, name, store)
    again = as_typed("sweep", config, given, name, store)
    tell_plan(loaded, console if plan else Console(stderr=True), measure=plan)
    if not plan:
        raise typer.Exit(run_sweep(loaded, config, shlex.join(again), Console(soft_wrap=False)))


def _setting(axis: str) -> str:
    """`depth=1,2` or `pretrain.depth=1,2` → `sweep.axes.depth=[1, 2]`, as `--set` takes it. Raises
    AxisWordError."""
    name, equals, words = axis.removeprefix("pretrain.").partition("=")
    values = [_value(word.strip()) for word in words.strip().strip("[]").split(",")]
    if not equals or not name.strip() or not all(value for value in values):
        raise AxisWordError(f"--axis {axis}: write a setting and its values, such as --axis depth=1,2,4")
    return f"sweep.axes.{name.strip()}=[{', '.join(values)}]"


def _value(word: str) -> str:
    """As TOML writes it: numbers, true and false as they are, all else in quotes."""
    if word in ("true", "false", ""):
        return word
    try:
        float(word)
    except ValueError:
        return json.dumps(word.strip("\"'"))
    return word
