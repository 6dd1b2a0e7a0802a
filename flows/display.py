"""What is seen while a flow runs: a live line per stage on a terminal, plain lines elsewhere."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from flows.figures import counts_in_words, on_a_line
from pipeline.credentials import hidden
from pipeline.store import Artifact, Attempt, Bound, JournalReader, Work

POLL_SECONDS = 0.5
PLAIN_INTERVAL_SECONDS = 10.0
STAGE_CHARACTERS = 13
MAKING, WAITING, MADE, REUSED, STAGE_FAILED, STAGE_STOPPED = ">", "…", "✓", "=", "✗", "■"
"""How a line about a stage begins; `job_log.py` reads them again."""
RUN_PAGE = "MLflow run: "
"""How the line begins that says where the run is to be seen."""
STOPS = (KeyboardInterrupt, SystemExit)
"""What a run is stopped by: Ray answers SIGTERM by the latter while it starts."""


def number(value: float) -> str:
    """A number as a reader wants it: 1,234 and 0.0123 and 3.21e+09."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}" if abs(value) < 1e12 else f"{value:.3g}"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def counted(amount: int, noun: str) -> str:
    """Such as 1 file, 1,200 files."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


LONG_HOURS, LONG_DAYS = 72, 100
"""From so many on a time is told in days, and without hours."""


def duration(seconds: float) -> str:
    """Such as 0.4 s, 12 s, 3:05 min, 2:10:00 h, 3 days 4:00 h, 12,350 days."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    hours, minutes = divmod(minutes, 60)
    if hours < LONG_HOURS:
        return f"{hours}:{minutes:02}:{rest:02} h"
    days, hours = divmod(hours, 24)
    return f"{days:,} days" if days >= LONG_DAYS else f"{days} days {hours}:{minutes:02} h"


def figures_line(figures: Mapping[str, Any]) -> str:
    """`loss 3.12, tokens per second 9,120`."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else number(value)}"
        for name, value in figures.items()
    )


def print_error(console: Console, told: str) -> None:
    """Each fault on a line that begins with `error:`; what is indented belongs to the line before. A secret
    of the environment, which a library may repeat, is not shown."""
    for line in hidden(told).splitlines():
        mark = "" if not line or line[0].isspace() else "[red]error:[/red] "
        console.print(f"{mark}{escape(line)}", soft_wrap=True)


PATIENCE_SECONDS = 5.0
"""So long nothing new has to be told for an estimate to stay."""
SILENCE_SECONDS = 60.0
"""After so long without a word of a stage its silence is told."""


NOTICES = {
    "warning": "{message}",
    "resumed": "goes on from step {step}, which was saved",
    "preempted": "step {step} is saved, since a worker, its node or the run is to go",
}
"""Kinds of a journal's lines that are told as soon as they are there, and in which words."""


@dataclass
class Running:
    """A stage that is being made, as its journals tell."""

    stage: str
    reader: JournalReader
    task: TaskID
    """Its line on a terminal."""
    start: float = field(default_factory=time.monotonic)
    printed_at: float = field(default_factory=time.monotonic)
    """When it was last told of where there is no terminal."""
    done: float = 0
    total: float | None = None
    unit: str = ""
    beginning: str = "starting"
    """What is done while there is no progress yet."""
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str]] = field(default_factory=list)
    """Labels and texts of the table under its line; most stages have none."""
    samples: list[tuple[str, int, str]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    """What its user should know of: what was skipped, where it goes on."""
    bound: Bound | None = None
    """What the stage cannot end before."""
    at_first_report: tuple[float, float] | None = None
    """When the first progress in this unit came, and how much was done then: rates are counted from there."""
    changed: float = 0.0
    """When more was done than before."""
    heard: float = field(default_factory=time.monotonic)
    """When a line of its journals came last."""

    def update(self) -> None:
        self.samples.clear()
        self.notices.clear()
        for line in self.reader.read():
            self.heard = time.monotonic()
            if line["kind"] == "progress":
                before, self.unit, self.beginning = self.unit, line["unit"], ""
                if line["done"] != self.done:
                    self.changed = time.monotonic()
                self.done, self.total, self.figures = line["done"], line["total"], line["figures"]
                self.bound = Bound(**line["bound"]) if line.get("bound") else None
                first = self.at_first_report
                if first is None or self.unit != before or self.done < first[1]:
                    self.at_first_report = (time.monotonic(), self.done)
            elif line["kind"] == "beginning":
                self.beginning = line["told"]
            elif line["kind"] == "table":
                self.rows = [(label, text) for label, text in line["rows"]]
            elif line["kind"] == "text":
                self.samples.append((line["name"], line["step"], line["text"]))
            elif line["kind"] in NOTICES:
                self.notices.append(NOTICES[line["kind"]].format(**line))

    def rest(self) -> float | None:
        """Estimated seconds to the end by the rate until now, or None while there is nothing to go by: also
        once something takes longer than all before it together."""
        if self.at_first_report is None or not self.total:
            return None
        since, before = self.at_first_report
        now = time.monotonic()
        if self.done <= before or now - self.changed > max(PATIENCE_SECONDS, self.changed - since):
            return None
        return (self.total - self.done) * (now - since) / (self.done - before)

    def line(self) -> str:
        """What it is at, and how long nothing was heard of it: work that has one long part, or none."""
        silence = time.monotonic() - self.heard
        silent = f", nothing new for {duration(silence)}" if silence > SILENCE_SECONDS else ""
        return self._at() + silent

    def _at(self) -> str:
        if self.beginning:
            return self.beginning
        of = f"/{number(self.total)}" if self.total else ""
        parts = [f"{number(self.done)}{of} {self.unit}"]
        if self.figures:
            parts.append(figures_line(self.figures))
        rest = self.rest()
        if self.bound is not None and self.bound.seconds > (rest or 0.0):
            parts.append(f"at least {duration(self.bound.seconds)} left, bound by {self.bound.by}")
        elif rest is not None:
            parts.append(f"{duration(rest)} left")
        return ", ".join(parts)


class Display:
    """A listener of the store: prints what happens to each stage, and follows journals of those at work."""

    def __init__(
        self, console: Console, starts: Callable[[], str] = str, page: Callable[[], str] = str
    ) -> None:
        """`starts` tells in words that Ray is being started at this moment; else it is empty. So is `page`
        until it is known where the run is to be seen, which is told once."""
        self.console, self.starts, self.page = console, starts, page
        self.page_is_told = False
        self.running: dict[str, Running] = {}
        """By the artifact that is being made."""
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.progress = _Lines(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            _Line(),
            console=console,
            transient=True,
        )
        self.thread = threading.Thread(target=self._follow, daemon=True, name="display")

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self.progress.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join(timeout=2)
        self.progress.stop()

    def planned(self, artifact: Artifact, work: Work) -> None:
        pass

    def reused(self, artifact: Artifact) -> None:
        self._say(f"[dim]{REUSED}[/dim]", artifact.stage, f"[dim]in the store, {artifact.key}[/dim]")

    def waiting(self, artifact: Artifact) -> None:
        self._say(f"[yellow]{WAITING}[/yellow]", artifact.stage, "another run is making it; waiting")

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        with self.lock:
            reader = JournalReader(attempt.storage, f"{attempt.folder}/journal")
            task = self.progress.add_task(_label(artifact.stage), line="starting")
            self.running[artifact.base] = Running(artifact.stage, reader, task)
        if not self.console.is_terminal:
            self._say(MAKING, artifact.stage, f"making {artifact.key}")

    def finished(self, artifact: Artifact) -> None:
        self._end(artifact)
        record = artifact.record
        told = figures_line({**counts_in_words(record), **on_a_line(record)})
        self._say(f"[green]{MADE}[/green]", artifact.stage, f"{duration(record.seconds)}: {told}")

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self._end(artifact)
        if isinstance(error, STOPS):
            self._say(f"[yellow]{STAGE_STOPPED}[/yellow]", artifact.stage, "stopped")
        else:
            self._say(f"[red]{STAGE_FAILED}[/red]", artifact.stage, "failed")

    def _end(self, artifact: Artifact) -> None:
        with self.lock:
            running = self.running.pop(artifact.base, None)
            if running is not None:
                self._show_news(running)
                self.progress.rows.pop(running.task, None)
                self.progress.remove_task(running.task)

    def tell_page(self) -> None:
        """Say where the run is to be seen, if that is known and not yet said."""
        if not self.page_is_told and (page := self.page()):
            self.page_is_told = True
            with contextlib.suppress(OSError):
                self.console.print(f"{RUN_PAGE}{escape(page)}", soft_wrap=True)

    def _follow(self) -> None:
        while not self.stopped.wait(POLL_SECONDS):
            self.tell_page()
            self._follow_once()

    def _follow_once(self) -> None:
        with self.lock:
            for running in self.running.values():
                self._show(running)

    def _show(self, running: Running) -> None:
        self._show_news(running)
        line = self.starts() or running.line()
        if self.console.is_terminal:
            self.progress.rows[running.task] = running.rows
            self.progress.update(running.task, completed=running.done, total=running.total or None, line=line)
        elif time.monotonic() - running.printed_at > PLAIN_INTERVAL_SECONDS:
            running.printed_at = time.monotonic()
            self._say(" ", running.stage, f"{duration(time.monotonic() - running.start)}: {line}")

    def _show_news(self, running: Running) -> None:
        running.update()
        for notice in running.notices:
            self._say("[yellow]![/yellow]", running.stage, "", notice)
        for name, step, text in running.samples:
            line = " ".join(text.split())
            self._say("[cyan]“[/cyan]", running.stage, f"[dim]step {step}, {name}:[/dim] ", line)

    def _say(self, mark: str, stage: str, told: str, literal: str = "") -> None:
        line = Text.from_markup(f"{mark} {_label(stage)} {told}")
        line.append(literal)
        with contextlib.suppress(OSError):  # a terminal that was closed, a full disk: no reason to fail
            self.console.print(line, soft_wrap=not self.console.is_terminal)


class _Lines(Progress):
    """A line of each stage at work, and under them what else one of them tells."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self.rows: dict[TaskID, Sequence[tuple[str, str]]] = {}
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for rows in list(self.rows.values()):
            grid = Table.grid(padding=(0, 1))
            grid.add_column(style="dim")
            grid.add_column(overflow="ellipsis", no_wrap=True)
            for label, text in rows:
                grid.add_row(Text(f"    {label}"), Text(text))
            yield grid


class _Line(ProgressColumn):
    """A stage at work in words, as long as the terminal is wide."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("line", "")), overflow="ellipsis", no_wrap=True)


def _label(stage: str) -> str:
    return f"{stage:<{STAGE_CHARACTERS}}"
