"""`moinho feedback`: rounds of votes and training."""

import shlex
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.options import ConfigPath, Name, Settings, StoreRoot, as_typed, load_configuration


def feedback(
    config: ConfigPath,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many are held before it ends.")] = 1,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that the page listens on.")] = 8080,
    page: Annotated[
        bool, typer.Option(help="Whether there is a page; without one, votes come from elsewhere.")
    ] = True,
    now: Annotated[
        bool, typer.Option("--now", help="Take the votes that there are, and wait for no others.")
    ] = False,
) -> None:
    """Let people vote, train a model by it, and let it answer beside the champion for the next votes.

    A round opens the page and waits for `feedback.votes` new votes in the box of `preferences.source`. It
    counts the choices between champion and challenger: only one who wins by `feedback.margin`, with
    `feedback.confidence`, is the new champion, and gets that alias in MLflow's registry; else it says why
    not. Then the next challenger is trained from the champion by all the votes, with the one section of dpo,
    grpo, rloo and ppo that there is (and a reward model, where there is a section reward).

    Stopped or killed, the same command goes on with the round and with the votes that it began with.
    """
    from flows.feedback import Asked
    from flows.feedback import feedback as hold_feedback

    loaded = load_configuration(config, settings, name, store)
    again = as_typed("feedback", config, settings, name, store)
    again += ["--rounds", str(rounds)] if rounds > 1 else []
    again += ([] if port == 8080 else ["--port", str(port)]) if page else ["--no-page"]
    asked = Asked(rounds, port if page else None, wait=not now)
    console = Console(soft_wrap=False)
    raise typer.Exit(hold_feedback(loaded, config, shlex.join(again), console, asked))
