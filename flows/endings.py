"""What a run says at its end: what it made, what failed, and what to type next."""

import webbrowser
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from crawler.outcomes import RECRAWLED
from flows.display import duration, number, print_error
from flows.figures import counts_in_words, summary
from flows.listeners import History
from flows.web_to_model import Road
from pipeline.corpus.clean import Documents
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import EARLIER, Pages
from pipeline.errors import MoinhoError
from pipeline.evaluation.compare import PAGE as COMPARISON_PAGE
from pipeline.evaluation.compare import Comparison
from pipeline.models.families import FAMILIES
from pipeline.models.model import Model
from pipeline.store import Artifact, Record
from pipeline.tokens.comparison import REPORT, VocabularyComparison

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED = 0, 1, 130
"""What `moinho run` ends with; 2 is the exit code of bad input."""


def tell_failure(error: Exception, history: History, console: Console, again: str) -> int:
    """One message for a fault of the input, a stage or the machine; the traceback lies in the stage's log.
    How to go on is told where the same command does."""
    foreign = "\n  ".join(f"{type(error).__name__}: {error}".splitlines())
    print_error(console, str(error) if isinstance(error, MoinhoError) else foreign)
    if history.broken is not None:
        path = history.broken[1].path("log.txt")
        if path.is_file():
            console.print(f"log: {path}", soft_wrap=True)
    if history.broken is not None and (not isinstance(error, MoinhoError) or error.passes):
        console.print(
            f"What is finished stays in the store; to go on: [bold]{escape(again)}[/bold]", soft_wrap=True
        )
    return error.exit_code if isinstance(error, MoinhoError) else EXIT_FAILED


def tell_stages(history: History, title: str, console: Console, seconds: float) -> None:
    """A table of all stages of the run: what became of each, how long it took, and what it counted."""
    table = Table(title=f"{title} in {duration(seconds)}", title_justify="left")
    for column in ("stage", "key", "took", "counts"):
        table.add_column(column, overflow="fold", no_wrap=column in ("stage", "key", "took"))
    for artifact, made in history.stages:
        record = artifact.record
        counts = ", ".join(f"{number(count)} {label}" for label, count in counts_in_words(record).items())
        if told := _told_of_recrawl(record):
            counts += f"; since the crawl before: {told}"
        table.add_row(record.stage, record.key[:8], duration(record.seconds) if made else "reused", counts)
    console.print(table)


def _told_of_recrawl(record: Record) -> str:
    """What became of the pages of the crawl that this one started from, and how many are new; empty for any
    other stage."""
    if EARLIER not in record.inputs:
        return ""
    found = {name: record.counts.get(f"outcome.{name}", 0) for name in RECRAWLED}
    new = record.counts.get("outcome.page", 0)
    return ", ".join(f"{number(count)} {name}" for name, count in {**found, "new": new}.items())


def tell_road(road: Road, name: str, console: Console) -> None:
    """The models with their figures and folders, the scores, which is the best, and what to type next."""
    aligned = [(f"{model.role} model", model) for model in road.aligned]
    chat = [("chat model", road.chat)] if road.chat is not None else []
    for title, model in (("base model", road.base), *chat, *aligned):
        figures = ", ".join(f"{key.replace('_', ' ')} {number(v)}" for key, v in model.record.figures.items())
        console.print(
            f"[bold]{title:<10}[/bold]  {figures}\n            {model.own_folder()}", soft_wrap=True
        )
    if road.chat is None or road.scores is None:
        return _tell_next(_of_base(road.base, name), console)
    scores = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    for figure in summary(road.scores.record):
        scores.add_row(f"  {figure.name.replace('_', ' ')}", number(figure.value), figure.meaning)
    console.print(scores)
    if road.comparison is not None:
        _tell_models_compared(road.comparison, console)
    best = road.chat.role
    if road.aligned:
        best = road.comparison.content()["best"] if road.comparison is not None else road.aligned[-1].role
    commands = {
        f'moinho complete {name}/base "The function returns a" --top 10': "",
        f"moinho chat {name}/{best}": "",
        f"moinho show {name}/{best}": "what it was made from",
        f"moinho show {name}/scores --figures": "all figures, and what each means",
        **({f"moinho show {name}/assessment-{best}": "where its own page lies"} if road.comparison else {}),
        f"moinho corpus dropped {name}/documents": "pages left out, and why",
        "moinho ui": "curves, counts and models in MLflow",
    }
    _tell_next(commands, console)


def _of_base(base: Model, name: str) -> dict[str, str]:
    """What to do with a model that does not chat, by what it has learned."""
    continues = FAMILIES[base.config().get("family", "llama")].continues_text
    first = (
        {f'moinho complete {name}/base "The function returns a" --top 10': ""}
        if continues
        else {f'moinho fill {name}/base "The function ___ a list."': "what may stand in the gap"}
    )
    return first | {f"moinho show {name}/base": "what it was made from", "moinho ui": "its curves in MLflow"}


def _tell_models_compared(comparison: Comparison, console: Console) -> None:
    """Which model is the best and why, and where the pages lie."""
    console.print("\n[bold]compared[/bold]")
    for sentence in comparison.content()["verdict"]:
        console.print(f"  {escape(sentence)}", soft_wrap=True)
    console.print(f"  all figures side by side: {comparison.path(COMPARISON_PAGE)}", soft_wrap=True)


def tell_end(artifact: Artifact, name: str, console: Console, *, until: str) -> None:
    """Where a run ended that its user let end early, and what to look at next."""
    commands = {f"moinho show {name}/{artifact.role}": "what it holds, and where its files lie"}
    if artifact.role in (Documents.role, Corpus.role):
        commands[f"moinho corpus dropped {name}/{Documents.role}"] = "what was left out, and why"
    commands["the same command without --until"] = "goes on from here"
    console.print(
        f"\nEnded with {artifact.stage}, as --until {until} asks: it lies in "
        f"{artifact.storage.address}/{artifact.base}",
        soft_wrap=True,
    )
    _tell_next(commands, console)


def tell_pages(pages: Pages, name: str, console: Console) -> None:
    """What to look at next. Pages that were taken from archives have no frontier and no report."""
    if pages.stage == Pages.stage:
        commands = {
            f"moinho crawl report {name}/pages": "what was found, in pictures",
            f"moinho frontier ls {name}/pages": "what became of each URL",
            f"moinho frontier why URL {name}/pages": "what became of one, and why",
        }
    else:
        commands = {
            f"moinho show {name}/pages": "what was counted, and where the log of all URLs lies",
            f"moinho ls {name}": "all that this run made",
        }
    _tell_next(commands, console)


def _tell_next(commands: Mapping[str, str], console: Console) -> None:
    """What to type next, and what it tells."""
    width = max(map(len, commands))
    console.print("\nnext:")
    for command, told in commands.items():
        console.print(f"  [bold]{command:<{width}}[/bold]    {told}".rstrip(), soft_wrap=True)


def tell_comparison(comparison: VocabularyComparison, name: str, console: Console, *, shown: bool) -> None:
    """The vocabularies' figures side by side, and where the page lies; `shown` opens it in a browser."""
    from pipeline.tokens.comparison_page import rows

    found, report = comparison.figures(), comparison.path(REPORT)
    table = Table(title="on held-out text", title_justify="left")
    for place, column in enumerate(("", *found)):
        table.add_column(column, justify="right" if place else "left")
    for row in rows(found):
        table.add_row(*row)
    console.print(table)
    console.print(f"by language, and what each figure means: {report}", soft_wrap=True)
    if shown:
        webbrowser.open(report.absolute().as_uri())
