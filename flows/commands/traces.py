"""`moinho trace`: from a model back to the documents that it learned from."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.options import (
    AsJson,
    ModelReference,
    StoreRoot,
    console,
    open_store,
    print_json,
    print_table,
)
from pipeline.errors import InputError

if TYPE_CHECKING:
    from flows.tracing import TracedStep
    from pipeline.corpus.text_index import Found

SHOWN = 20
WORDS = 3
BEGINNING_CHARACTERS = 60
"""Of each document's text in a table."""
PLACES, ALL = 5, 1 << 31
"""Documents that are told for a stretch of text."""


class NothingToTraceError(InputError):
    """Neither a step nor a text was given, or both."""

    remedy = 'Give one of them: --step 41, or --text "…".'


def trace(
    model: ModelReference,
    step: Annotated[
        int | None,
        typer.Option(min=0, help="A step of pretraining, from 0: which documents it learned from."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="A text: which of the training documents have it, or parts of it.")
    ] = None,
    least_words: Annotated[
        int, typer.Option("--words", min=1, help="Words in a stretch of the text, at least.")
    ] = WORDS,
    limit: Annotated[int, typer.Option(min=1, help="How many rows, or stretches of the text.")] = SHOWN,
    places: Annotated[
        int | None,
        typer.Option(min=1, help="Documents told for each stretch, at most. Default: 5, in JSON all."),
    ] = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say what a model learned from: the documents of one training step, or those that contain a text.

    MODEL may be the name of a run. Of a model that was fine-tuned or aligned, the documents are those of the
    base that it was made from, and steps are those of its pretraining. Texts are looked for letter by letter:
    upper and lower case, spaces and line breaks count, so ask for each spelling of a name. Held-out documents
    are not among the training's. An index of the texts is made at the first question (some eight megabytes a
    second on one processor).
    """
    from flows.tracing import indexes_of, learned_by, pretrained, trace_step
    from pipeline.corpus.text_index import as_asked, find_text, words_in

    if (step is None) == (text is None):
        given = "neither was given" if step is None else "both were given"
        raise NothingToTraceError(
            f'trace tells of a step or of a text, and {given}: --step 41, or --text "…"'
        )
    asked = as_asked(text) if text is not None else b""
    base = pretrained(open_store(store), model)
    if step is not None:
        traced = trace_step(base, step)
        if as_json:
            print_json(dataclasses.asdict(traced))
        else:
            _tell_step(traced, limit)
        return
    learned = learned_by(base)
    indexes = indexes_of(learned.corpora, Console(stderr=True))
    most_places = places or (ALL if as_json else PLACES)
    found = find_text(indexes, asked, least_words=least_words, most=limit, most_places=most_places)
    if as_json:
        print_json({"found": [dataclasses.asdict(each) for each in found], "unknown": learned.unknown})
        return
    if indexes:
        _tell_found(found, min(least_words, words_in(asked)))
    for each in learned.unknown:
        console.print(f"[yellow]not looked through: {escape(each)}[/yellow]", soft_wrap=True)


def _tell_step(traced: "TracedStep", limit: int) -> None:
    """The documents of each row, and how each begins."""
    rows = dict.fromkeys(piece.row for piece in traced.pieces)
    shown = set(list(rows)[:limit])
    skipped = "; its loss was a spike, and no update was made" if traced.was_skipped else ""
    console.print(
        f"step {traced.step:,} of {traced.steps:,} of {traced.model}: {len(rows):,} rows, "
        f"{len({piece.document for piece in traced.pieces}):,} documents, "
        f"{sum(piece.tokens for piece in traced.pieces):,} tokens{skipped}",
        soft_wrap=True,
    )
    table = Table("row", "from token", "tokens", "URL", "text", box=None, pad_edge=False)
    for column in table.columns[:3]:
        column.justify = "right"
    table.columns[3].overflow = "fold"  # never cut: URLs are there to be copied
    for piece in traced.pieces:
        if piece.row in shown:
            row = f"{piece.row:,}" + (f" ({piece.text})" if piece.text else "")
            beginning = " ".join(piece.content.split())[:BEGINNING_CHARACTERS]
            cells = row, f"{piece.first_token:,}", f"{piece.tokens:,}", escape(piece.url), escape(beginning)
            table.add_row(*cells)
    print_table(table)
    if len(shown) < len(rows):
        console.print(
            f"[dim]{len(shown)} of {len(rows):,} rows; --limit {len(rows)} shows all, --json all text[/dim]"
        )


def _tell_found(found: "Sequence[Found]", least_words: int) -> None:
    """Each stretch with the documents that have it."""
    from flows.display import counted

    if not found:
        few = (
            f"{least_words} words of it in a row; --words 1 looks for less"
            if least_words > 1
            else "word of it"
        )
        console.print(f"The training documents have no {few}.")
        return
    for each in found:
        times = (
            "once" if each.times == 1 else f"{each.times:,} times in {counted(each.documents, 'document')}"
        )
        console.print(f"[bold]{escape(repr(each.text))}[/bold]", soft_wrap=True)
        console.print(f"  {len(each.text):,} characters, {times}", soft_wrap=True)
        for place in each.places:
            more = f", {place.times:,} times" if place.times > 1 else ""
            where = f"byte {place.byte:,} of {place.document}{more}"
            console.print(f"  {escape(place.url)}  [dim]{where}[/dim]", soft_wrap=True)
        if each.documents > len(each.places):
            left = each.documents - len(each.places)
            console.print(f"  [dim]and {left:,} documents more: --places {each.documents} tells all[/dim]")
