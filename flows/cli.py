"""The command line. Exit codes: 0 done, 1 a stage failed, 2 the input is wrong, 130 stopped by Ctrl-C."""

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from flows.commands import (
    corpora,
    crawl,
    feedback,
    forgetting,
    history,
    jobs,
    looks,
    machine,
    models,
    plans,
    profiles,
    runs,
    serving,
    store,
    sweeps,
    traces,
    vocabularies,
)
from pipeline.errors import MoinhoError

EXIT_STOPPED = 130


class _Commands(TyperGroup):
    """Says that a command was stopped: typer itself makes an exit code of Ctrl-C, and no word."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        with _stop_told():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        with _stop_told():
            return super().invoke(ctx)


@contextlib.contextmanager
def _stop_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        errors.print("stopped")
        raise typer.Exit(EXIT_STOPPED) from None


app = typer.Typer(
    name="moinho",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From URLs to a language model that chats. "
    "Start with `moinho run configs/quickstart.toml`, then `moinho chat quickstart/chat`.",
)
errors = Console(stderr=True)

for command, example in (
    (runs.run, "run configs/quickstart.toml --set pretrain.steps=300 --name trial"),
    (plans.plan, "plan configs/quickstart.toml --set pretrain.steps=300"),
    (sweeps.sweep, "sweep configs/quickstart.toml --axis depth=1,2,3 --axis learning_rate_factor=0.5,1,2"),
    (history.history, "history configs/history.toml"),
    (runs.config, "config configs/quickstart.toml"),
    (profiles.profile, "profile configs/quickstart.toml --steps 20"),
    (jobs.submit, "submit configs/quickstart.toml --address http://127.0.0.1:8265 --follow"),
    (jobs.jobs, "jobs --address http://127.0.0.1:8265"),
    (jobs.status, "status quickstart-1a2b3c4d-1"),
    (jobs.logs, "logs quickstart-1a2b3c4d-1 -f"),
    (jobs.cancel, "cancel quickstart-1a2b3c4d-1"),
    (jobs.resume, "resume quickstart-1a2b3c4d-1"),
    (store.ls, "ls quickstart"),
    (store.show, "show quickstart/chat --figures"),
    (store.verify, "verify quickstart/chat"),
    (store.rm, "rm quickstart/chat --dry-run"),
    (store.gc, "gc --dry-run"),
    (corpora.follow, "follow http://docs.moinho.test/argparse.html quickstart"),
    (forgetting.forget, "forget blog.example.org --note 'asked by mail on 3 May'"),
    (traces.trace, "trace quickstart/base --step 41"),
    (models.tokenize, 'tokenize quickstart/vocabulary "A moagem do trigo"'),
    (models.complete, 'complete quickstart/base "The quick brown fox jumps over the lazy" --top 10'),
    (models.chat, 'chat quickstart/chat "What is a decorator?"'),
    (looks.fill, 'fill path/to/bert "The mill ___ the wheat."'),
    (serving.serve, "serve quickstart/chat --port 8000"),
    (serving.votes, "votes quickstart > votes.jsonl"),
    (feedback.feedback, "feedback configs/feedback.toml --rounds 3"),
    (machine.ui, "ui --port 5001 --store /data/store"),
    (machine.doctor, "doctor --store /data/store"),
):
    app.command(command.__name__, epilog=f"Example: moinho {example}")(command)
app.add_typer(looks.look_group, name="look")
app.add_typer(crawl.crawl_group, name="crawl")
app.add_typer(crawl.frontier_group, name="frontier")
app.add_typer(corpora.corpus_group, name="corpus")
app.add_typer(vocabularies.vocabulary_group, name="vocabulary")


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"moinho {importlib.metadata.version('moinho')}")
        raise typer.Exit()


@app.callback()
def moinho(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _quiet_environment() -> None:
    """No library sends usage data or asks a hub behind the user's back."""
    for name, value in {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """Run the command line; a fault of the user's input is told in one message."""
    _quiet_environment()
    try:
        sys.exit(app(standalone_mode=False) or 0)  # the code of a typer.Exit is handed back, not raised
    except MoinhoError as error:
        from flows.display import print_error

        print_error(errors, str(error))
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        errors.print("stopped")
        sys.exit(EXIT_STOPPED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(2)


if __name__ == "__main__":
    main()
