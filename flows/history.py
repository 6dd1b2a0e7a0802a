"""Every family on one corpus: what each step of the history of language models brought.

The road to the tokens is that of any run. Then each family is trained on them with the same number of
floating point operations, and all are asked for the same held-out tokens.
"""

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.display import number
from flows.web_to_model import WebToModel, web_to_corpus
from pipeline.compute import Compute
from pipeline.errors import InputError
from pipeline.evaluation.history.stage import PAGE, History, HistoryConfig, compare_history
from pipeline.models.counted import count_ngrams
from pipeline.models.families import FAMILIES, FamilyName, training_flops_per_token
from pipeline.store import Store
from pipeline.tokens.encode import tokenize
from pipeline.tokens.vocabulary import train_vocabulary
from pipeline.training.pretrain import pretrain
from pipeline.training.pretrain_config import PretrainConfig


class HistorySettingsError(InputError):
    """A family of the history cannot have what its settings say."""

    remedy = "Correct [history.settings] as the message says."


def web_to_history(config: WebToModel, store: Store, compute: Compute) -> History:
    """Corpus, vocabulary, tokens; a model of each family; all of them compared."""
    history = config.history or HistoryConfig()
    corpus = web_to_corpus(config, store, compute)
    vocabulary = train_vocabulary(store, corpus, config.vocabulary)
    tokens = tokenize(store, corpus, vocabulary, config.tokens, compute)
    counted = count_ngrams(store, tokens, vocabulary, history.ngram, compute)
    models = {}
    for family in history.families:
        settings = pretraining_of(config, history, family, vocabulary.pieces)
        models[family] = pretrain(store, tokens, vocabulary, settings, compute, role=family)
    return compare_history(store, tokens, vocabulary, counted, models, history, compute)


def pretraining_of(
    config: WebToModel, history: HistoryConfig, family: FamilyName, pieces: int
) -> PretrainConfig:
    """The settings of [pretrain] with the family's own, and as many steps as its compute allows. Raises
    HistorySettingsError."""
    given = config.pretrain.model_dump(include=config.pretrain.model_fields_set)
    given |= {} if FAMILIES[family].is_recurrent else {"truncation": None}
    given |= {"prompts": (), "family": family, "steps": 1, **history.settings.get(family, {})}
    try:
        one = PretrainConfig.model_validate(given)
        per_token = training_flops_per_token(one.shape(), pieces, config.tokens.row_tokens)
        steps = max(1, round(history.flops / (per_token * one.recipe().batch_tokens)))
        evaluations = {"evaluate_every": max(1, steps // 10)}
        return PretrainConfig.model_validate({**given, **evaluations, "steps": steps})
    except ValidationError as error:
        fault = error.errors()[0]
        told = str(fault.get("ctx", {}).get("error", "")) or f"{fault['msg']}, found {fault['input']!r}"
        where = ".".join(map(str, fault["loc"]))
        raise HistorySettingsError(
            f"history.settings.{family}{f'.{where}' if where else ''}: {told}"
        ) from None


def tell_history(made: History, name: str, console: Console) -> None:
    """Every member with its figures, and where the page lies."""
    table = Table(title="the history, on this corpus", title_justify="left")
    for column in ("model", "weights", "steps", "bits per byte", "bits of a hidden token"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for each in made.table()["members"]:
        bits = each.get("held_out_bits_per_byte")
        table.add_row(
            each["name"],
            number(each["parameters"]) if "parameters" in each else "–",
            number(each["steps"]) if "steps" in each else "–",
            f"{bits:.3f}" if bits is not None else "–",
            f"{each['hidden_bits']:.2f}",
        )
    console.print(table)
    console.print(f"page, in English and Portuguese: {made.path(PAGE)}", soft_wrap=True)
    console.print("[bold]moinho ui[/bold] has each training's curves", soft_wrap=True)
