"""What is seen of a running stage."""

import io
import time

from rich.console import Console
from rich.progress import TaskID

from flows.display import Display, Running, duration
from pipeline.corpus.pages import Pages
from pipeline.store import Attempt, Bound, JournalReader, Storage


def test_the_table_of_a_stage_stands_under_its_line_and_goes_with_it(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "crawl", "0" * 16, "20260101-000000-aaaaaa")
    journal = attempt.journal("whole-crawl")
    journal.progress(3, 7, "pages")
    journal.table([("slowest", "[b]host.example.org 3.2 s")])
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    display, pages = Display(console), Pages(attempt.storage, attempt.key)
    display.started(pages, attempt, {})
    display._show(display.running[pages.base])
    console.print(*display.progress.get_renderables())
    shown = console.file.getvalue()
    assert "3/7 pages" in shown
    assert "slowest [b]host.example.org 3.2 s" in shown
    display.failed(pages, attempt, KeyboardInterrupt())
    console.print(*display.progress.get_renderables())
    assert console.file.getvalue().count("slowest") == 1


def test_each_of_several_stages_at_work_has_a_line_until_it_ends(tmp_path):
    storage = Storage(str(tmp_path))
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    display, artifacts = Display(console), [Pages(storage, name * 16) for name in "ab"]
    for number, pages in enumerate(artifacts):
        attempt = Attempt(storage, pages.stage, pages.key, "one")
        display.started(pages, attempt, {})
        attempt.journal("pages").progress(number + 3, 7, "pages")
    display._follow_once()
    console.print(*display.progress.get_renderables())
    display.failed(artifacts[0], Attempt(storage, "crawl", "a" * 16, "one"), KeyboardInterrupt())
    shown = console.file.getvalue()
    assert "3/7 pages" in shown
    assert "4/7 pages" in shown
    console.print(*display.progress.get_renderables())
    assert "3/7 pages" not in console.file.getvalue()[len(shown) :]
    assert "4/7 pages" in console.file.getvalue()[len(shown) :]


def test_the_time_left_is_at_least_what_the_stage_says(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "crawl", "0" * 16, "20260101-000000-aaaaaa")
    journal = attempt.journal("whole-crawl")
    running = Running("crawl", JournalReader(attempt.storage, f"{attempt.folder}/journal"), TaskID(0))
    bound = Bound(200.0, "host a.example: 200 waiting at 1.0 s each")
    journal.progress(1, 201, "pages", bound=bound)
    running.update()
    assert running.line() == "1/201 pages, at least 3:20 min left, bound by " + bound.by
    running.at_first_report = (time.monotonic() - 10, 0)
    journal.progress(1_000, 1_200, "pages", bound=bound)
    running.update()
    assert "at least 3:20 min left" in running.line(), "until now it went much faster"
    journal.progress(1_000, 101_000, "pages", bound=bound)
    running.update()
    assert "16:" in running.line(), "the others take longer than that host"
    assert "bound" not in running.line()


def test_nothing_is_said_of_the_time_left_while_something_takes_longer_than_all_before_it(tmp_path):
    running = Running(
        "extract",
        JournalReader(Storage(str(tmp_path)), "none"),
        TaskID(0),
        unit="shards",
        done=7,
        total=11,
    )
    now = time.monotonic()
    running.at_first_report, running.changed = (now - 40, 0), now - 10
    rest = running.rest()
    assert rest is not None
    assert 22 < rest < 24
    running.changed = now - 30
    assert running.rest() is None


def test_a_stage_of_which_nothing_was_heard_for_a_while_is_not_shown_as_if_it_went_on(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "pretrain", "0" * 16, "20260101-000000-aaaaaa")
    running = Running("pretrain", JournalReader(attempt.storage, f"{attempt.folder}/journal"), TaskID(0))
    attempt.journal("pretrain").progress(10, 29, "steps")
    running.update()
    assert running.line() == "10/29 steps"
    running.heard -= 90
    running.update()
    assert running.line() == "10/29 steps, nothing new for 1:30 min"
    attempt.journal("driver").beginning("starting training workers")
    running.update()
    assert running.line() == "starting training workers"


def test_what_is_done_before_the_first_progress_is_told_by_name_and_again_after_a_restart(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "pretrain", "0" * 16, "20260101-000000-aaaaaa")
    journal = attempt.journal("pretrain-0")
    running = Running("pretrain", JournalReader(attempt.storage, f"{attempt.folder}/journal"), TaskID(0))
    assert running.line() == "starting"
    for told, shown in (
        ("compiling", "compiling"),
        ("", "3/9 steps"),
        ("making the model", "making the model"),
    ):
        if told:
            journal.beginning(told)
        else:
            journal.progress(3, 9, "steps")
        running.update()
        assert running.line() == shown


def test_a_rate_is_not_counted_from_another_unit(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "crawl", "0" * 16, "20260101-000000-aaaaaa")
    journal = attempt.journal("whole-crawl")
    running = Running("crawl", JournalReader(attempt.storage, f"{attempt.folder}/journal"), TaskID(0))
    journal.progress(1, 1, "shards")
    running.update()
    journal.progress(1_000, 1_200, "pages")
    running.update()
    assert running.line() == "1,000/1,200 pages"


def test_where_a_training_goes_on_and_what_is_skipped_is_told(tmp_path):
    attempt = Attempt(Storage(str(tmp_path)), "pretrain", "toy", "first")
    journal = attempt.journal("pretrain-0")
    journal.write("warning", message="checkpoint step-8 is skipped")
    journal.write("resumed", step=4, folder="…")
    running = Running("pretrain", JournalReader(attempt.storage, f"{attempt.folder}/journal"), TaskID(0))
    running.update()
    assert running.notices == ["checkpoint step-8 is skipped", "goes on from step 4, which was saved"]
    running.update()
    assert running.notices == []


def test_a_long_time_is_told_in_days():
    seconds = (0.44, 12, 185, 7800, 71 * 3600, 76 * 3600, 296424 * 3600)
    told = ["0.4 s", "12 s", "3:05 min", "2:10:00 h", "71:00:00 h", "3 days 4:00 h", "12,351 days"]
    assert [duration(each) for each in seconds] == told
