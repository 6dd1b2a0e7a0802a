"""`moinho corpus`, `moinho follow`: what a corpus has, and what became of pages on their way into it."""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.commands.cards import card, diff
from flows.commands.options import AsJson, StoreRoot, console, open_store, print_json, print_table
from pipeline.errors import InputError

if TYPE_CHECKING:
    from flows.accounts import Chapter
    from flows.following import LearnedRow, Line
    from flows.inspection import Dropped

LINES, TOKENS = 30, 24
SAMPLE = 20
"""Dropped documents that are shown unless told otherwise."""
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, such as quickstart.")]


class UnknownReasonError(InputError):
    """Nothing was dropped for this reason."""

    remedy = "Take one of the reasons that the message lists."


def dropped(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT",
            help="Documents, such as quickstart/documents or quickstart/raw, or a run's name.",
        ),
    ],
    reason: Annotated[str | None, typer.Option(help="Only those dropped for this reason.")] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="How many of the documents. Default: 20, in JSON all.")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="The whole text of each, too.")] = False,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """The documents that extract or clean dropped: how many for each reason, and some with their values."""
    from flows.inspection import dropped_pages, sample_by_reason, with_texts
    from flows.references import find_artifact
    from pipeline.corpus.clean import Documents
    from pipeline.store.store import names_by_base

    home = open_store(store)
    named, own = home.named(), f"{artifact}/{Documents.role}"
    found = find_artifact(home, own if own in named else artifact)
    pages = dropped_pages(found, names_by_base(named))
    reasons = Counter(page.reason for page in pages)
    if reason is not None and reason not in reasons:
        there = ", ".join(f"{name} ({count:,})" for name, count in reasons.most_common())
        raise UnknownReasonError(
            f"{found.base} dropped nothing for {reason!r}; there is {there or 'nothing'}"
        )
    wanted = [page for page in pages if reason in (None, page.reason)]
    most = len(wanted) if as_json and sample is None else sample or SAMPLE
    chosen = sample_by_reason(wanted, most)
    if text:
        chosen = with_texts(found, chosen)
    if as_json:
        facts = [dataclasses.asdict(page) for page in chosen]
        print_json(
            [{name: value for name, value in each.items() if name != "text" or text} for each in facts]
        )
        return
    if not pages:
        console.print("Nothing was dropped: every document was kept.")
        return
    _tell_counts(reasons)
    if text:
        _tell_texts(chosen)
    else:
        _tell_dropped(chosen)
    if len(chosen) < len(wanted):
        console.print(
            f"[dim]{len(chosen)} of {len(wanted):,} documents; --sample {len(wanted)} shows all[/dim]"
        )


def why(
    url: Annotated[str, typer.Argument(metavar="URL", help="A page's URL, as the crawl knows it.")],
    run: Run,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """A page's whole story: what each stage made of it, from the crawl to the steps of the training."""
    from flows.accounts import RunArtifacts, gone_on_from, story_by_either_scheme

    home = open_store(store)
    made = RunArtifacts(home, run)
    chapters = story_by_either_scheme(made, url)
    if as_json:
        print_json([dataclasses.asdict(chapter) for chapter in chapters])
        return
    _tell_chapters(chapters)
    if not chapters:
        console.print(f"Nothing in the run {escape(run)} has heard of {escape(url)}.", soft_wrap=True)
    for other in gone_on_from(home, made):
        told = f"Its model also learned from what {other} is made of: moinho corpus why URL RUN tells of it"
        console.print(f"[yellow]{escape(told)}[/yellow]", soft_wrap=True)


def follow(
    url: Annotated[str, typer.Argument(metavar="URL", help="A page's URL, as the crawl knows it.")],
    run: Run = "quickstart",
    lines: Annotated[int, typer.Option(min=1, help="Lines of the text that are shown.")] = LINES,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the row that are shown.")] = TOKENS,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Watch one page travel: the fetch, the text kept and cut, its tokens in a training row, and the loss on
    each of them before the training and after it."""
    from flows.following import follow as follow_page

    followed = follow_page(open_store(store), run, url)
    if as_json:
        print_json(dataclasses.asdict(followed))
        return
    _tell_chapters(followed.chapters)
    if not followed.chapters:
        console.print(f"Nothing in the run {escape(run)} has heard of {escape(url)}.", soft_wrap=True)
    if followed.lines:
        _tell_lines(followed.lines, lines)
    if followed.learned is not None:
        _tell_learned(followed.learned, tokens)
    elif followed.chapters:
        console.print(f"\nno loss on it: {escape(followed.unlearned)}", soft_wrap=True)


def _tell_chapters(chapters: "Sequence[Chapter]") -> None:
    for chapter in chapters:
        console.print(f"[bold]{chapter.stage}[/bold]  [dim]{chapter.artifact}[/dim]")
        for label, value in chapter.facts:
            console.print(f"  {label:<10} {escape(value)}", soft_wrap=True)


def _tell_lines(lines: "Sequence[Line]", most: int) -> None:
    """The text as it was read, what was cut struck out; without a terminal it has a - before it."""
    console.print("\n[bold]its text[/bold]; - was cut or changed by cleaning")
    for line in lines[:most]:
        sign, style = ("  ", "") if line.is_kept else ("- ", "red strike")
        console.print(Text(f"  {sign}{line.text}", style), soft_wrap=True)
    if len(lines) > most:
        cut = sum(not line.is_kept for line in lines[most:])
        console.print(
            f"[dim]  and {len(lines) - most:,} lines more, {cut:,} of them cut; --lines shows more[/dim]"
        )


def _tell_learned(learned: "LearnedRow", most: int) -> None:
    """A row with the page, and how the training changed what its tokens cost."""
    from flows.display import counted

    before = statistics.mean(piece.nats_before for piece in learned.pieces)
    after = statistics.mean(piece.nats_after for piece in learned.pieces)
    steps = (
        f"learned from at step {', '.join(map(str, learned.steps))}"
        if learned.steps
        else "never learned from"
    )
    others = (
        "alone in it" if not learned.beside else f"beside {counted(len(learned.beside), 'other document')}"
    )
    console.print(
        f"\n[bold]row {learned.row:,}[/bold]: {len(learned.pieces) + 1:,} tokens of it from token "
        f"{learned.first_token:,} on, {others}; {steps}",
        soft_wrap=True,
    )
    console.print(
        f"loss on it: [bold]{before:.2f}[/bold] nats a token before the training, "
        f"[bold]{after:.2f}[/bold] after it"
    )
    table = Table("id", "token", "before", "after", box=None, pad_edge=False)
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for piece in learned.pieces[:most]:
        style = "green" if piece.nats_after < piece.nats_before else "red"
        table.add_row(
            str(piece.id),
            escape(piece.text),
            f"{piece.nats_before:.2f}",
            f"[{style}]{piece.nats_after:.2f}[/]",
        )
    console.print(table)


def _tell_counts(reasons: Counter[str]) -> None:
    """How many documents each reason dropped."""
    from pipeline.corpus.reasons import REASONS

    counts = Table("reason", "documents", "what it means", box=None, pad_edge=False)
    counts.columns[1].justify = "right"
    for reason, count in reasons.most_common():
        # What another version dropped may have a reason that this one does not know.
        counts.add_row(reason, f"{count:,}", REASONS.get(reason, "").replace("`", ""))
    counts.add_row("[bold]in all[/bold]", f"[bold]{reasons.total():,}[/bold]")
    console.print(counts, "")


def _tell_dropped(pages: "Sequence[Dropped]") -> None:
    """Some of the documents, a line each."""
    table = Table("reason", "value", "limit", "detail", "source", "URL or place", box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.overflow = "fold"
    for page in pages:
        table.add_row(
            page.reason,
            _measured(page.value),
            _measured(page.threshold),
            escape(page.detail),
            escape(page.source),
            escape(page.url),
        )
    print_table(table)
    console.print(
        "[dim]limits: for each language and kind of document in pipeline/corpus/rules/LANGUAGE.toml; "
        "those of extract and of duplicates in the configuration (moinho config)[/dim]",
        soft_wrap=True,
    )
    console.print(
        "[dim]places: source/file#place, the byte that a line of JSONL or a WARC record begins at, or the "
        "row of a Parquet file; source#id where a row has an id[/dim]",
        soft_wrap=True,
    )


def _tell_texts(pages: "Sequence[Dropped]") -> None:
    """Some of the documents, to be read."""
    for page in pages:
        limits = [
            f"{word} {_measured(value)}"
            for word, value in (("found", page.value), ("limit", page.threshold))
            if value is not None
        ]
        why = ", ".join([page.reason, *limits, *filter(None, [page.detail])])
        console.print(f"\n[bold underline]{escape(page.url)}[/bold underline]", soft_wrap=True)
        console.print(f"[bold]{escape(why)}[/bold]", soft_wrap=True)
        console.print(escape(page.text or "(it has no text)"), soft_wrap=True)


def _measured(value: float | None) -> str:
    from flows.display import number

    return "" if value is None else number(value)


corpus_group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What a corpus has, and what became of pages on their way into it.",
)
COMMANDS: dict[Callable[..., None], str] = {
    dropped: "corpus dropped quickstart --reason few-letters --sample 20",
    card: "corpus card quickstart --open",
    diff: "corpus diff quickstart trial --output diff.html",
    why: "corpus why http://docs.moinho.test/argparse.html quickstart",
}
for command, example in COMMANDS.items():
    corpus_group.command(command.__name__, epilog=f"Example: moinho {example}")(command)
