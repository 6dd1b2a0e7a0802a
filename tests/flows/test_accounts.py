"""The story of a page is what the store says of it, and holds from the crawl to the steps of the training."""

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from flows.accounts import (
    Chapter,
    RunArtifacts,
    UnknownRunError,
    kept_lines,
    story,
    story_by_either_scheme,
)
from flows.commands.corpora import UnknownReasonError, dropped
from flows.commands.options import print_table
from flows.following import follow
from flows.references import find_artifact
from flows.tracing import pretrained, trace_step
from pipeline.store import Store
from tests.road import moinho


@pytest.fixture
def road(filled_road: Path) -> Store:
    return Store(str(filled_road / "store"))


def test_the_steps_of_a_story_are_those_whose_batches_have_the_page(road: Store) -> None:
    base = pretrained(road, "road")
    urls = {step: {piece.url for piece in trace_step(base, step).pieces} for step in range(60)}
    url, times = Counter(url for of_step in urls.values() for url in of_step).most_common()[-1]
    chapters = {chapter.stage: dict(chapter.facts) for chapter in story(RunArtifacts(road, "road"), url)}
    assert list(chapters) == ["crawl", "extract", "clean", "hold-out", "tokens", "pretrain"]
    told = chapters["pretrain"]["steps"]
    assert told.startswith(f"{times} of 60")
    named = [int(number) for number in re.findall(r"\d+", told.partition(":")[2].partition(" and ")[0])]
    assert named == sorted(step for step, of_step in urls.items() if url in of_step)[: len(named)]


def test_every_dropped_page_has_its_reason_and_what_was_measured(road: Store) -> None:
    rows = json.loads(moinho("corpus", "dropped", "road", "--json", store=Path(road.storage.root)).stdout)
    assert len(rows) == sum(
        count
        for name, count in find_artifact(road, "road/documents").record.counts.items()
        if name.startswith("dropped.")
    )
    for row in rows:
        facts = [dict(chapter.facts) for chapter in story(RunArtifacts(road, "road"), row["url"])]
        assert any(each.get("dropped", "").startswith(row["reason"]) for each in facts)


def test_a_page_that_nobody_asked_for_is_told_of_by_the_crawl(road: Store) -> None:
    (chapter,) = story(RunArtifacts(road, "road"), "http://docs.moinho.test/nothing-here.html")
    assert "never seen" in dict(chapter.facts)["state"]


def test_a_run_that_is_not_there_is_told_with_those_that_are(road: Store) -> None:
    with pytest.raises(UnknownRunError, match="road"):
        RunArtifacts(road, "rode")


def test_a_page_is_followed_to_what_the_model_learned_of_it(road: Store) -> None:
    url = "http://docs.moinho.test/argparse.html"
    followed = follow(road, "road", url)
    assert "".join(line.text for line in followed.lines if line.is_kept)
    learned = followed.learned
    assert learned is not None
    step = trace_step(pretrained(road, "road"), learned.steps[0])
    here = [piece for piece in step.pieces if piece.row == learned.row and piece.url == url]
    assert here[0].tokens == len(learned.pieces) + 1
    before, after = (
        sum(getattr(piece, name) for piece in learned.pieces) for name in ("nats_before", "nats_after")
    )
    assert after < before
    assert before / len(learned.pieces) == pytest.approx(6.93, abs=0.7)  # a vocabulary of 1,024, all alike
    told = moinho("follow", url, "road", store=Path(road.storage.root))
    assert f"row {learned.row:,}" in told.stdout


def test_the_dropped_are_listed_by_reason_and_can_be_read(road: Store) -> None:
    store = Path(road.storage.root)
    rows = json.loads(moinho("corpus", "dropped", "road", "--json", "--text", store=store).stdout)
    reason = rows[0]["reason"]
    some = moinho("corpus", "dropped", "road", "--reason", reason, "--sample", "2", "--text", store=store)
    assert some.returncode == 0, some.stderr
    assert reason in some.stdout
    first = [
        row["text"].strip().split("\n")[0] for row in rows if row["reason"] == reason and row["text"].strip()
    ]
    assert not first or any(line in some.stdout for line in first)
    with pytest.raises(UnknownReasonError, match=reason):
        dropped("road", reason="too-blue", store=str(store))


def test_lines_that_were_cut_or_changed_are_told_from_those_that_were_kept() -> None:
    before, after = "Menu\nA\n\nmail a@b.c\nA\nB\nMenu", "A\n\nmail [email]\nA\nB"
    assert [is_kept for _, is_kept in kept_lines(before, after)] == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    assert all(is_kept for _, is_kept in kept_lines(after, after))


def test_a_page_is_found_under_the_scheme_that_it_was_crawled_by(monkeypatch: pytest.MonkeyPatch) -> None:
    crawled, read = Chapter("crawl", "crawl/1", ()), Chapter("extract", "extract/1", ())
    known = {"http://mill.example/": [crawled, read]}
    monkeypatch.setattr("flows.accounts.story", lambda found, url: iter(known.get(url, [crawled])))
    nothing: Any = None
    for asked in ("https://mill.example/", "http://mill.example/"):
        assert story_by_either_scheme(nothing, asked) == [crawled, read]
    assert story_by_either_scheme(nothing, "https://other.example/") == [crawled]
    assert story_by_either_scheme(nothing, "manual/page.html") == [crawled]


def test_a_table_that_goes_into_a_file_breaks_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("flows.commands.options.console", Console(file=out, width=40))
    table = Table("URL", box=None)
    table.add_row(url := f"https://mill.example/{'long/' * 60}")
    print_table(table)
    assert url in out.getvalue()
