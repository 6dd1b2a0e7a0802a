"""`moinho crawl` and `moinho frontier`: the crawl alone, and what became of its URLs."""

import dataclasses
import shlex
import shutil
import tempfile
import time
import webbrowser
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from flows.commands.options import (
    AsJson,
    ConfigPath,
    Name,
    Settings,
    Snapshot,
    StoreRoot,
    as_typed,
    console,
    load_configuration,
    open_store,
    print_json,
    settings_with,
)

if TYPE_CHECKING:
    from crawler.out_of_scope import Unwanted
    from crawler.progress import Progress
    from crawler.why import Answer
    from flows.crawls import Crawl

SHOWN_URLS = 50
CrawlReference = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A run's name, a name such as quickstart/pages, a key, or a folder. Default: the latest crawl.",
    ),
]


class State(StrEnum):
    """What `--state` may be."""

    WAITING = "waiting"
    DONE = "done"
    ASIDE = "aside"
    ELSEWHERE = "elsewhere"


class _RunsUnlessTold(TyperGroup):
    """`moinho crawl CONFIG` is `moinho crawl run CONFIG`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


def _find(store: str | None, name: str | None) -> "Crawl":
    """The crawl of that name; one that is given as its folder needs no store."""
    from flows.crawls import find_crawl

    return find_crawl(open_store(store, needed=name is None or not Path(name).is_dir()), name)


def run(
    config: ConfigPath,
    settings: Settings = None,
    snapshot: Snapshot = None,
    name: Name = None,
    store: StoreRoot = None,
) -> None:
    """Crawl alone, as the beginning of a run does: `run` may be left out. An interrupted crawl goes on.

    It begins with the URLs in `crawl.seeds`, those of sitemaps among them, and in the text file
    `crawl.seeds_file` (a URL a line, # begins a comment, also .gz).
    """
    from flows.run import crawl_alone

    settings = settings_with(settings, snapshot)
    loaded = load_configuration(config, settings, name, store)
    again = shlex.join(as_typed("crawl", config, settings, name, store))
    raise typer.Exit(crawl_alone(loaded, config, again, Console(soft_wrap=False)))


def status(name: CrawlReference = None, store: StoreRoot = None, as_json: AsJson = False) -> None:
    """How far a crawl is: pages, speed, hosts, errors by kind. Also while it runs."""
    from crawler.progress import figures

    crawl = _find(store, name)
    failure, ending = crawl.failure(), crawl.ending()
    to_do = f"go on: {ending.command or 'run its command again'}" if ending else ""
    to_do = f"correct that, then {to_do}" if failure else to_do
    told, as_of = _standing(crawl)
    unwanted = _unwanted(crawl)
    if as_json:
        facts = {
            "crawl": crawl.base,
            "state": _state(crawl),
            "error": failure and failure.error,
            "as_of": as_of,
            "outcomes": told.outcomes,
        }
        counts = {f"out-of-scope.{reason}": each.urls for reason, each in unwanted.items()}
        print_json({**facts, **figures(told), **counts})
        return
    from crawler.progress import rows

    lines = [
        ("crawl", crawl.base),
        ("state", _state(crawl)),
        ("to do", to_do),
        ("as of", as_of or ""),
        ("pages", f"{told.pages:,} of {told.tried:,} URLs tried, {told.waiting:,} waiting"),
        ("bytes", f"{told.bytes / 1e6:,.1f} MB in {told.seconds:,.1f} s of crawling"),
        *rows(told),
        ("not wanted", ", ".join(f"{reason} {each.told}" for reason, each in unwanted.items())),
    ]
    _print_lines([line for line in lines if line[1]])


def report(
    name: CrawlReference = None,
    output: Annotated[Path | None, typer.Option(help="Write it to this file.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    store: StoreRoot = None,
) -> None:
    """The report of a crawl, one HTML file with pictures. Of an unfinished crawl: as far as it is."""
    from crawler.report import REPORT

    crawl = _find(store, name)
    if crawl.pages is not None and REPORT in crawl.pages.record.files:
        path = crawl.pages.path(REPORT)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            path = Path(shutil.copyfile(path, output))
    else:
        path = output or Path(tempfile.gettempdir()) / f"moinho-crawl-{crawl.key}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_report(crawl, path)
    console.print(str(path), soft_wrap=True)
    if show:
        webbrowser.open(path.absolute().as_uri())


def ls(
    name: CrawlReference = None,
    host: Annotated[str | None, typer.Option(help="Only URLs of this host.")] = None,
    state: Annotated[
        State | None, typer.Option(help="Only URLs in this state. Default: all of the crawl.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="Only URLs that came to this, such as robots.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show at most.")] = SHOWN_URLS,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the URLs that a crawl knows, by host, with what became of each."""
    states = [state] if state is not None else [State.WAITING, State.DONE, State.ASIDE]
    crawl = _find(store, name)
    with crawl.frontiers() as frontiers:
        found = list(frontiers.urls(host and host.lower(), states, outcome, limit + 1))
        as_of = frontiers.as_of
    if as_json:
        print_json([dataclasses.asdict(known) for known in found[:limit]])
        return
    table = Table("url", "state", "status", "depth", "bytes", "detail", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"  # never cut: URLs are there to be copied
    for known in found[:limit]:
        visit = known.visit
        size = f"{visit.bytes:,}" if visit and visit.bytes is not None else ""
        table.add_row(
            escape(known.url),
            visit.outcome if visit else known.state,
            str(visit.status or "") if visit else "",
            str(known.depth),
            size,
            escape(visit.detail or "") if visit else "",
        )
    if as_of:
        console.print(f"As of {as_of}; the crawl may know more by now.", soft_wrap=True)
    if crawl.failure() is not None:
        console.print(f"This crawl {escape(_state(crawl))}", soft_wrap=True)
    console.print(table if found else "No URL of this crawl is so.")
    if len(found) > limit:
        console.print(f"The first {limit:,}; --limit shows more, --json prints them for a program.")


def why(
    url: Annotated[str, typer.Argument(metavar="URL", help="A URL, as it is written on a page.")],
    name: CrawlReference = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say what became of a URL and why, and by which pages the crawl came to it."""
    from crawler.why import why as find_out
    from flows.crawl_answers import answer_lines

    crawl = _find(store, name)
    with crawl.frontiers() as frontiers:
        answer = find_out(frontiers, url, crawl.config, finished=crawl.pages is not None)
        known = answer.known
        host = frontiers.host(known.host) if known and known.host else None
        as_of, several = frontiers.as_of, frontiers.count > 1
    if as_json:
        facts = dataclasses.asdict(answer)
        print_json({**facts, "host": host and dataclasses.asdict(host), "as_of": as_of})
        return
    lines = [*answer_lines(answer, host), *(_source_lines(answer) if several else [])]
    _print_lines([*lines, *([("as of", as_of)] if as_of else [])])


def _standing(crawl: "Crawl") -> "tuple[Progress, str | None]":
    """As of the last commits, of a running crawl with its speed of now; of one that runs elsewhere as of its
    last round's end, which is told, or what it told last, if that is more."""
    from crawler.inquiry import NoFrontierError
    from crawler.progress import Progress
    from crawler.telling import told_in
    from flows.crawls import ALIVE_SECONDS
    from pipeline.corpus.pages import Pages
    from pipeline.store import Attempt

    told = None
    if crawl.pages is None and crawl.attempts():
        attempt = Attempt(crawl.storage, Pages.stage, crawl.key, crawl.attempts()[-1])
        told = told_in(attempt).latest()
    try:
        with crawl.frontiers() as frontiers:
            standing, as_of = frontiers.standing(), frontiers.as_of
    except NoFrontierError:
        if told is None and crawl.ending() is None and not crawl.is_running():
            raise
        return told or Progress(), "what it told last"
    if as_of is not None and told is not None and told.tried > standing.tried:
        return told, "what it told last"
    heard = crawl.heard_seconds_ago(of_partitions=True)
    if told is None or heard is None or heard > ALIVE_SECONDS or not crawl.is_running():
        return standing, as_of
    live = ("pages_per_second", "bytes_per_second", "in_flight", "hosts_active", "slowest", "longest")
    waiting = max(0, standing.hosts_waiting - told.hosts_active)
    now = dataclasses.replace(standing, hosts_waiting=waiting, **{name: getattr(told, name) for name in live})
    return now, as_of


def _unwanted(crawl: "Crawl") -> "dict[str, Unwanted]":
    """URLs that are not wanted, by the reason, as far as there is a frontier to look into."""
    from crawler.inquiry import NoFrontierError

    try:
        with crawl.frontiers() as frontiers:
            return frontiers.out_of_scope()
    except NoFrontierError:
        return {}


def _state(crawl: "Crawl") -> str:
    from flows.display import duration

    if crawl.pages is not None:
        return f"finished, begun {crawl.pages.record.started}, took {duration(crawl.pages.record.seconds)}"
    if (ending := crawl.ending()) is not None:
        ago = f"{duration(time.time() - ending.time)} ago"
        return f"failed {ago}: {ending.error}" if ending.error else f"stopped {ago}"
    heard, begun = crawl.heard_seconds_ago(), crawl.begun_seconds_ago()
    if crawl.is_running():
        is_silent = heard is None or (begun is not None and begun < heard)
        return f"starting, begun {duration(begun)} ago" if is_silent and begun is not None else "running"
    told = f"last heard of {duration(heard)} ago" if heard is not None else "nothing was heard of it yet"
    if crawl.is_claimed() is None:
        return f"not finished; {told}. If it does not run, its command goes on with it"
    return f"not finished; {told}. Nobody makes it now; its command goes on with it"


def _make_report(crawl: "Crawl", path: Path) -> None:
    """For a crawl whose artifact has none: languages are looked for where the archive is at hand."""
    from crawler.report import archived, make_report

    with crawl.frontiers() as frontiers, console.status("counting"):
        archive = {}
        if crawl.pages is not None:
            files = crawl.pages.record.files
            archive = {name: f"{crawl.base}/{files[name].path}" for name in crawl.pages.names("warc/")}
        pages = archived(frontiers, crawl.storage, archive)
        make_report(frontiers, pages, path, crawl.base, crawl.config)


def _source_lines(answer: "Answer") -> list[tuple[str, str]]:
    """Which of several partitions' frontiers told this: a host is one partition's."""
    if answer.known is None:
        return []
    lines = [("frontier", answer.known.frontier)]
    target = answer.leads_to
    if target is not None and target.frontier is not None and target.frontier != answer.known.frontier:
        lines.append(("", f"{target.frontier} (of where it leads to)"))
    return lines


def _print_lines(lines: list[tuple[str, str]]) -> None:
    for label, value in lines:
        console.print(f"[bold]{label:<10}[/bold] {escape(value)}", soft_wrap=True)


def _group(
    told: str, commands: dict[Callable[..., None], str], kind: type[TyperGroup] = TyperGroup
) -> typer.Typer:
    """A group of commands, each with an example."""
    group = typer.Typer(cls=kind, no_args_is_help=True, rich_markup_mode="markdown", help=told)
    for command, example in commands.items():
        group.command(command.__name__, epilog=f"Example: moinho {example}")(command)
    return group


crawl_group = _group(
    "Crawl alone (`moinho crawl CONFIG`), and look at crawls.",
    {
        run: "crawl configs/quickstart.toml --set crawl.max_pages=100 --snapshot 2026-01-31",
        status: "crawl status quickstart",
        report: "crawl report quickstart/pages --output report.html",
    },
    _RunsUnlessTold,
)
frontier_group = _group(
    "What a crawl knows of its URLs, also while it runs.",
    {
        ls: "frontier ls quickstart/pages --outcome robots",
        why: "frontier why https://www.example.org/page quickstart/pages",
    },
)
