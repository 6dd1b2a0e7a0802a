"""`moinho vocabulary`: which vocabulary fits a corpus."""

import shlex
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.options import ConfigPath, Name, Settings, StoreRoot, as_typed, load_configuration


def compare(
    config: ConfigPath,
    settings: Settings = None,
    name: Name = None,
    store: StoreRoot = None,
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Learn BPE, unigram, character and word vocabularies from the same sample, and compare them.

    The corpus is made as a run makes it, or reused; the section `vocabulary` says how many pieces, and from
    how much text. The report has, by language, bytes, letters and words per token of held-out text, how many
    documents come back exactly, what spelling mistakes do, and how long learning and encoding take.
    """
    from flows.run import compare_vocabularies

    loaded = load_configuration(config, settings, name, store)
    program, *rest = as_typed("vocabulary", config, settings, name, store)
    again = shlex.join([program, "vocabulary", "compare", *rest[1:]])
    raise typer.Exit(compare_vocabularies(loaded, config, again, Console(soft_wrap=False), show))


vocabulary_group = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Which vocabulary fits a corpus."
)
vocabulary_group.command(
    compare.__name__,
    epilog="Example: moinho vocabulary compare configs/quickstart.toml --set vocabulary.pieces=8192 --open",
)(compare)


@vocabulary_group.callback()
def vocabulary() -> None:
    pass
