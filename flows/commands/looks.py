"""`moinho look` and `moinho fill`: what goes on in a model, in words and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.models import load_with_tokenizer
from flows.commands.options import AsJson, ModelReference, StoreRoot, console, open_store, print_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pipeline.evaluation.insight.spelled import Spelled

look_group = typer.Typer(
    no_args_is_help=True, help="Look into a model: what it expects, attends to, hangs on."
)

Text = Annotated[str, typer.Argument(metavar="TEXT", help="A sentence in quotes.")]
Picture = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Draw it into this file, too.", dir_okay=False)
]
Top = Annotated[int, typer.Option(min=1, max=100, help="How many are told.")]


def _spelled(
    store: str | None, model: str, text: str
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, Spelled]":
    from pipeline.evaluation.insight.spelled import spell

    loaded, tokenizer = load_with_tokenizer(store, model)
    return loaded, tokenizer, spell(loaded, tokenizer, text)


def _tell_drawn(png: Path | None, as_json: bool) -> None:
    if png is not None and not as_json:  # what reads JSON reads nothing else
        console.print(f"drawn: {escape(str(png))}", soft_wrap=True)


@look_group.command("next", epilog='Example: moinho look next quickstart/base "The function returns a"')
def look_next(
    model: ModelReference,
    text: Text,
    top: Top = 5,
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """What the model expected at each place of a text, and how surprising what came was, in bits."""
    from pipeline.evaluation.insight.candidates import expectations

    loaded, tokenizer, spelled = _spelled(store, model, text)
    found = expectations(loaded, tokenizer, spelled, top)
    if as_json:
        rows = [
            {
                "token": each.token,
                "probability": each.probability,
                "bits": each.bits,
                "expected": each.candidates,
            }
            for each in found
        ]
        print_json({"places": rows})
    else:
        table = Table("came", "probability", "bits", "expected", box=None, pad_edge=False)
        for each in found:
            told = "  ".join(f"{name!r} {share:.0%}" for name, share in each.candidates)
            came = "" if each.probability is None else f"{each.probability:.1%}"
            bits = "" if each.bits is None else f"{each.bits:.1f}"
            table.add_row(escape(repr(each.token) if each.token else "…"), came, bits, escape(told))
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_expectations

        plot_expectations(found, png)
    _tell_drawn(png, as_json)


@look_group.command(
    "attention",
    epilog='Example: moinho look attention quickstart/base "The function returns a list" list --png a.png',
)
def look_attention(
    model: ModelReference,
    text: Text,
    word: Annotated[str, typer.Argument(metavar="WORD", help="A word of the text: from where one looks.")],
    layer: Annotated[
        int | None,
        typer.Option(min=1, help="Of this layer every head. Default: every layer, mean of its heads."),
    ] = None,
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Where each layer, or each head of one layer, looks from a word: shares of its attention by word."""
    from pipeline.evaluation.insight.attention import attention, from_word, require_layer

    loaded, _, spelled = _spelled(store, model, text)
    chosen = spelled.word(word)
    weights_LHTT = attention(loaded, spelled)
    if layer is not None:
        require_layer(weights_LHTT, layer)
    shares_LHW = from_word(weights_LHTT, spelled, chosen)
    rows_XW = shares_LHW.mean(1) if layer is None else shares_LHW[layer - 1]
    seen = [at for at, other in enumerate(spelled.words) if other.start <= chosen.start]
    if as_json:
        print_json({"words": [each.text for each in spelled.words], "shares": shares_LHW.tolist()})
    else:
        table = Table(
            "layer" if layer is None else "head", *(escape(spelled.words[at].text) for at in seen), box=None
        )
        for number, row in enumerate(rows_XW, 1):
            table.add_row(str(number), *(f"{row[at]:.2f}" for at in seen))
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_attention

        plot_attention(shares_LHW, spelled, chosen, layer, png)
    _tell_drawn(png, as_json)


@look_group.command(
    "without",
    epilog='Example: moinho look without quickstart/base "The function returns a" --prediction list',
)
def look_without(
    model: ModelReference,
    text: Text,
    prediction: Annotated[
        str | None, typer.Option(help="What is foretold after the text. Default: the likeliest next token.")
    ] = None,
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """What a prediction hangs on: how many bits it loses without each word of the text."""
    from pipeline.evaluation.insight.occlusion import foretold, occlusion

    loaded, tokenizer, spelled = _spelled(store, model, text)
    found = occlusion(loaded, tokenizer, spelled, foretold(tokenizer, prediction))
    told = tokenizer.decode(list(found.prediction))
    words = [word.text for word in spelled.words]
    if as_json:
        print_json({"prediction": told, "bits": found.bits, "words": words, "lost": list(found.lost)})
    else:
        console.print(f"{told!r} after the whole text: {found.bits:.2f} bits", highlight=False, markup=False)
        table = Table("without", "bits lost", box=None, pad_edge=False)
        for at in found.ranked():
            table.add_row(escape(words[at]), f"{found.lost[at]:+.2f}")
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_occlusion

        plot_occlusion(spelled, found, str(told), png)
    _tell_drawn(png, as_json)


@look_group.command(
    "similar",
    epilog='Example: moinho look similar quickstart/base list "a list of names" "to list the files"',
)
def look_similar(
    model: ModelReference,
    word: Annotated[str, typer.Argument(metavar="WORD", help="A word that both sentences have.")],
    one: Annotated[str, typer.Argument(metavar="SENTENCE", help="A sentence in quotes.")],
    other: Annotated[str, typer.Argument(metavar="SENTENCE", help="Another one.")],
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """How alike the model takes a word in two sentences, layer by layer: whether its meanings part ways.

    The cosine of any two different words of the sentences stands beside it: what it is above that counts.
    """
    from pipeline.evaluation.insight.similarity import similarity
    from pipeline.evaluation.insight.spelled import spell

    loaded, tokenizer, first = _spelled(store, model, one)
    second = spell(loaded, tokenizer, other)
    places = (first, first.word(word)), (second, second.word(word))
    found = similarity(loaded, *places)
    if as_json:
        print_json({"same_word": list(found.same_word), "other_words": list(found.other_words)})
    else:
        table = Table("layer", "the word", "two different words", "beyond these", box=None, pad_edge=False)
        rows = zip(found.same_word, found.other_words, found.beyond_others, strict=True)
        for layer, values in enumerate(rows):
            table.add_row(str(layer or "embedding"), *(f"{value:.2f}" for value in values))
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_similarity

        plot_similarity(found, places[0][1], places[1][1], png)
    _tell_drawn(png, as_json)


@look_group.command("near", epilog="Example: moinho look near quickstart/base returns --top 15")
def look_near(
    model: ModelReference,
    word: Annotated[str, typer.Argument(metavar="WORD", help="A word.")],
    top: Top = 10,
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """The words that the model reads by the vectors nearest to that of a word."""
    from pipeline.evaluation.insight.neighbours import WordVectors

    found = WordVectors(*load_with_tokenizer(store, model)).nearest(word, top)
    if as_json:
        print_json({"pieces": list(found.pieces), "nearest": dict(found.nearest)})
    else:
        if len(found.pieces) > 1:
            console.print(
                f"read in {len(found.pieces)} pieces: {' '.join(found.pieces)}", markup=False, highlight=False
            )
        table = Table("word", "cosine", box=None, pad_edge=False)
        for name, cosine in found.nearest:
            table.add_row(escape(name), f"{cosine:.2f}")
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_neighbours

        plot_neighbours(word, found, png)
    _tell_drawn(png, as_json)


def fill(
    model: ModelReference,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A text in quotes with one gap, written ___.")],
    top: Top = 10,
    png: Picture = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say what stands in a gap: of masked models (BERT, RoBERTa) and denoising ones (T5, BART)."""
    from flows.references import find_model_folder
    from pipeline.evaluation.insight.fill import fill as fillings

    found = fillings(find_model_folder(open_store(store, needed=False), model), text, top)
    if as_json:
        print_json(found)
    else:
        table = Table("filling", "probability", box=None, pad_edge=False)
        for name, share in found.items():
            table.add_row(escape(name), f"{share:.1%}")
        console.print(table)
    if png is not None:
        from pipeline.evaluation.insight.plots import plot_fillings

        plot_fillings(text, found, png)
    _tell_drawn(png, as_json)
