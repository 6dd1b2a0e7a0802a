"""`moinho history`: every family of language models, trained on one corpus and compared."""

import shlex

import typer
from rich.console import Console

from flows.commands.options import ConfigPath, Name, Settings, StoreRoot, as_typed, load_configuration


def history(
    config: ConfigPath, settings: Settings = None, name: Name = None, store: StoreRoot = None
) -> None:
    """Train every family in the history of language models on one corpus, and see what each step brought.

    N-grams are counted; RNN, GRU, LSTM, GPT-2, BERT, RoBERTa, T5, BART and LLaMA are trained with the same
    number of floating point operations (`history.flops`). Then all are asked for the same held-out tokens.

    What comes out: one page in English and Portuguese with pictures (loss against compute, against the length
    of the context; how far back gradients reach; what a row's length costs; what many rows at a time bring)
    and with sentences that follow from what was measured. Killed and started again, it goes on.
    """
    from flows.run import history as run_history

    loaded = load_configuration(config, settings, name, store)
    again = as_typed("history", config, settings, name, store)
    raise typer.Exit(run_history(loaded, config, shlex.join(again), Console(soft_wrap=False)))
