"""What is seen of a running stage."""

import io

from rich.console import Console

from flows.display import Display, Running
from pipeline.store import Attempt, JournalReader, Storage


def test_the_table_of_a_stage_stands_under_its_line_and_goes_with_it(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "crawl", "0" * 16, "20260101-000000-aaaaaa")
    journal = attempt.journal("whole-crawl")
    journal.progress(3, 7, "pages")
    journal.table([("slowest", "[b]host.example.org 3.2 s")])
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    display = Display(console)
    display.running = Running("crawl", JournalReader(attempt.storage, f"{attempt.folder}/journal"))
    display.progress.reset(display.task, visible=True, line="")
    display._show(display.running)
    console.print(*display.progress.get_renderables())
    shown = console.file.getvalue()
    assert "3/7 pages" in shown
    assert "slowest [b]host.example.org 3.2 s" in shown
    display._end()
    console.print(*display.progress.get_renderables())
    assert console.file.getvalue().count("slowest") == 1
