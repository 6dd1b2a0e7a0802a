"""`moinho crawl` and `moinho frontier`: on a small real crawl, and on one that is not finished."""

import contextlib
import dataclasses
import datetime
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crawler.entries import Position
from crawler.history import Plan
from crawler.inquiry import NoFrontierError, UnknownOutcomeError
from crawler.progress import PARTITION, Progress, SlowHost
from flows.cli import app
from flows.commands.options import load_configuration, settings_with
from flows.configuration import ConfigurationError
from flows.crawls import NotACrawlError, find_crawl
from flows.references import UnknownArtifactError
from pipeline.corpus.pages import Pages
from pipeline.store import Attempt, Journal, Record, ShardRecord, Storage, Store
from pipeline.store.artifacts import RECORD
from pipeline.store.records import dump
from tests.crawler.frontiers import SEED, entry, small_frontier, visit
from tests.crawler.web import Answer, serve, small_site
from tests.road import Run
from tests.store.stages import GrindConfig, grind
from tests.tracking.recorded import recorded

KEY, ATTEMPT = "0123456789abcdef", "20260101-000000-abcdef"


def say(*words: str, store: Path) -> str:
    """What a command prints. Raises the error that it ends with."""
    result = CliRunner().invoke(app, [*words, "--store", str(store)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory):
    """The store of a crawl by the command itself, what that printed, and the site's origin."""
    folder = tmp_path_factory.mktemp("crawled")
    site = small_site(8) | {"/robots.txt": Answer(b"User-agent: *\nDisallow: /p3")}
    with serve(site) as web:
        config = folder / "small.toml"
        config.write_text(
            f'name = "small"\n[crawl]\nseeds = ["{web.url()}"]\nprivate_hosts = ["127.0.0.1"]\n'
            'delay_seconds = 0\nmax_pages = 6\ndeny = ["/missing"]\n'
        )
        ran = Run.start(folder / "store", "crawl.requests=2", config=config, outputs=folder, word="crawl")
        assert ran.wait() == 0, ran.text()
    return folder / "store", ran.text(), web.origin


def test_the_crawl_alone_makes_pages_and_says_what_to_look_at_next(crawled) -> None:
    store, told, _ = crawled
    assert "from URLs to pages" in told
    assert "moinho crawl report small/pages" in told
    assert set(Store(str(store)).named()) == {"small/pages"}


def test_a_snapshot_is_given_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text('name = "small"\n[crawl]\nseeds = ["https://a.example/"]\nsnapshot = 2026-01-01\n')
    settings = settings_with(["crawl.max_pages=5"], "2026-02-01")
    crawl = load_configuration(path, settings, None, None).crawl
    assert (crawl.snapshot, crawl.max_pages) == (datetime.date(2026, 2, 1), 5)
    for date in ("tomorrow", "2026-13-01", "20260101"):
        with pytest.raises(ConfigurationError, match=rf"crawl\.snapshot: .*{date}"):
            say("crawl", str(path), "--snapshot", date, store=tmp_path)


def test_the_status_of_a_finished_crawl(crawled) -> None:
    store, _, _ = crawled
    told = say("crawl", "status", "small", store=store)
    assert "finished, begun 20" in told
    assert "refused    robots 1" in told
    found = json.loads(say("crawl", "status", "--json", store=store))
    assert (found["outcomes"]["page"], found["refused.robots"]) == (found["pages"], 1)
    assert found["waiting"] > 0
    assert "not wanted denied by '/missing' 1" in told
    record = json.loads(say("show", "small/pages", "--json", store=store))
    for counts in (record["counts"], found):
        assert counts["out-of-scope.denied by '/missing'"] == 1


def test_the_report_is_a_file_of_the_artifact_and_can_be_taken_along(crawled, tmp_path: Path) -> None:
    store, _, _ = crawled
    kept = Path(say("crawl", "report", "small/pages", store=store).strip())
    assert kept.is_relative_to(store)
    assert "</html>" in kept.read_text()
    say("crawl", "report", "small", "--output", str(tmp_path / "a" / "r.html"), store=store)
    assert (tmp_path / "a" / "r.html").read_bytes() == kept.read_bytes()


def test_mlflow_has_the_report_and_the_figures_over_time(crawled) -> None:
    store, _, _ = crawled
    found = recorded(Store(str(store)))
    (flow,) = found.flows()
    stage = found.stages(flow)["crawl"]
    assert "report.html" in found.files(stage)
    assert {"crawl.pages_per_second", "crawl.hosts_active", "crawl.refused.robots"} <= set(stage.data.metrics)


def test_the_frontier_lists_urls_by_state_outcome_and_host(crawled) -> None:
    store, _, origin = crawled
    assert f"{origin}/p3.html" in say("frontier", "ls", "small", "--outcome", "robots", store=store)
    waiting = json.loads(say("frontier", "ls", "--state", "waiting", "--json", store=store))
    assert waiting
    assert all(known["visit"] is None for known in waiting)
    told = say("frontier", "ls", "--host", "127.0.0.1", "--limit", "2", store=store)
    assert "The first 2" in told
    with pytest.raises(UnknownOutcomeError, match="page 6"):
        say("frontier", "ls", "--outcome", "robot", store=store)
    result = CliRunner().invoke(app, ["frontier", "ls", "--state", "wating", "--store", str(store)])
    assert result.exit_code == 2


def test_the_frontier_says_why(crawled) -> None:
    store, _, origin = crawled
    told = say("frontier", "why", f"{origin}/p3.html#x", "small/pages", store=store)
    assert "robots: forbidden by robots.txt" in told
    assert "Disallow: /p3 (in robots.txt)" in told
    assert f"way        {origin}/ (page)" in told
    told = say("frontier", "why", f"{origin}/p1.html", store=store)
    (folder,) = (store / "crawl").iterdir()
    archived = f"warc/moinho-{folder.name[:8]}-00-00000-00000.warc.gz"
    assert f"archived   {archived} at " in told
    shown = re.search(r"^warc/ +(.*)$", say("show", "small/pages", store=store), re.MULTILINE)
    assert shown is not None
    assert shown[1].endswith(archived)
    assert Path(shown[1]).is_file()
    assert "never seen" in say("frontier", "why", f"{origin}/nowhere", store=store)
    found = json.loads(say("frontier", "why", f"{origin}/p3.html", "--json", store=store))
    assert (found["state"], found["rule"]) == ("done", "Disallow: /p3")


def test_a_name_that_is_no_crawl_is_answered_by_what_there_is(crawled, tmp_path: Path) -> None:
    store, _, _ = crawled
    with pytest.raises(UnknownArtifactError, match=r"smal: nothing of that name .* there is small/pages"):
        say("crawl", "status", "smal", store=store)
    home = Store(str(tmp_path / "farm"))
    home.name("farm/flour", grind(home, GrindConfig()))
    with pytest.raises(NotACrawlError, match="there is no crawl in the store"):
        find_crawl(home, None)
    with pytest.raises(NotACrawlError, match="not a crawl; there is none"):
        find_crawl(home, "farm/flour")


def test_a_crawl_of_another_store_may_be_named_by_its_folder(crawled, tmp_path: Path) -> None:
    store, _, _ = crawled
    (folder,) = (store / "crawl").iterdir()
    assert "pages      6 of" in say("crawl", "status", str(folder), store=tmp_path)


def test_help_has_an_example_and_names_the_configuration() -> None:
    runner = CliRunner()
    assert "moinho crawl CONFIG" in runner.invoke(app, ["crawl", "--help"]).output
    for words in (
        ["crawl", "run"],
        ["crawl", "status"],
        ["crawl", "report"],
        ["frontier", "ls"],
        ["frontier", "why"],
    ):
        assert f"Example: moinho {words[0]}" in runner.invoke(app, [*words, "--help"]).output


# --- a crawl that is not finished ---


@pytest.fixture
def unfinished(tmp_path: Path):
    """A store in which a run called `slow` has begun a crawl, and whose frontier is still open."""
    storage = Storage(str(tmp_path))
    (tmp_path / "locks").mkdir()
    frontier = small_frontier(tmp_path / f"crawl/{KEY}/scratch/00000-1/00/frontier.sqlite")
    events = Journal(storage, "runs/20260101-000000-abc", "events")
    events.write("flow", name="slow")
    events.write("started", stage="crawl", key=KEY, attempt=ATTEMPT, config={"max_pages": 9})
    yield storage, frontier
    frontier.close()


def tell(storage: Storage, **fields: object) -> None:
    told = Progress(
        outcomes={"page": 5},
        pages_per_second=2.5,
        in_flight=3,
        hosts_active=1,
        slowest=(SlowHost("a.example", 1.5),),
    )
    Journal(storage, f"crawl/{KEY}/attempts/{ATTEMPT}/journal", "spider").write(
        PARTITION, **dataclasses.asdict(told)
    )


def test_a_running_crawl_is_found_by_its_runs_name_and_told_as_it_is_now(
    unfinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.crawls.ALIVE_SECONDS", 600.0)  # however slow this machine is
    storage, _ = unfinished
    assert "nothing was heard of it yet" in say("crawl", "status", "slow", store=tmp_path)
    tell(storage)
    with being_made(tmp_path):
        told = say("crawl", "status", "slow/pages", store=tmp_path)
    assert "state      running" in told
    assert "5 of 9 URLs tried, 2 waiting" in told
    assert "2.5 pages/s, 0.00 MB/s, 3 requests under way" in told
    assert "slowest    a.example 1.5 s" in told
    assert "traps      trap-calendar 1" in told
    assert "waiting for its turn" in say("frontier", "why", f"{SEED}waiting", "slow", store=tmp_path)
    assert f"{SEED}waiting" in say("frontier", "ls", "slow", "--state", "waiting", store=tmp_path)


def test_a_url_without_a_host_has_no_line_of_its_host(unfinished, tmp_path: Path) -> None:
    _, frontier = unfinished
    frontier.refuse("file:///etc/passwd", visit("refused-scheme"), entry(SEED))
    frontier.commit(Position(seconds=31.0))
    told = say("frontier", "why", "file:///etc/passwd", "slow", store=tmp_path)
    assert "neither http nor https" in told
    assert "\nhost " not in told


def test_an_interrupted_crawl_is_told_to_be_one(
    unfinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, frontier = unfinished
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 120)
    tell(storage)
    monkeypatch.undo()
    frontier.close()
    told = say("crawl", "status", KEY[:6], store=tmp_path)
    assert re.search(r"not finished; last heard of 2:.* ago\. Nobody makes it now", told)
    assert "0.2 pages/s" in told, "the speed of all its time"
    assert "requests under way" not in told


def test_a_crawl_that_nobody_makes_any_more_does_not_run_however_lately_it_was_heard_of(
    unfinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.crawls.ALIVE_SECONDS", 600.0)
    tell(unfinished[0])
    told = say("crawl", "status", "slow", store=tmp_path)
    assert "Nobody makes it now; its command goes on with it" in told
    assert "requests under way" not in told
    failed(unfinished[0], "KeyboardInterrupt", "cancelled")
    told = say("crawl", "status", "slow", store=tmp_path)
    assert re.search(r"state +stopped [0-9.]+ s ago\nto do +go on: moinho crawl slow.toml\n", told)


def test_a_crawl_that_is_made_again_is_said_to_start_and_not_to_have_failed(
    unfinished, tmp_path: Path
) -> None:
    storage, _ = unfinished
    tell(storage)
    events = failed(storage, "no room")
    with being_made(tmp_path):
        told = say("crawl", "status", "slow", store=tmp_path)
        assert "starting, begun" in told
        assert "failed" not in told
        other = "f" * 16  # nothing of it is in the store yet
        events.write("started", stage="crawl", key=other, attempt="20260201-000000-a", config={})
        with being_made(tmp_path, other):
            told = say("crawl", "status", store=tmp_path)
    assert re.search(rf"crawl +crawl/{other}\nstate +starting, begun", told)
    assert f"crawl/{KEY}" in say("crawl", "status", store=tmp_path), (
        "whose making ended before it left anything"
    )


def test_while_a_recrawl_has_no_frontier_yet_the_finished_crawl_is_named(tmp_path: Path) -> None:
    store, earlier = Store(str(tmp_path)), Pages(Storage(str(tmp_path)), "e" * 16)
    record = {"stage": "crawl", "revision": 1, "key": earlier.key, "attempt": "a", "seconds": 1.0}
    texts = dict.fromkeys(("digest", "started", "commit"), "x")
    tables = {
        name: {}
        for name in (
            "identity",
            "config",
            "inputs",
            "versions",
            "counts",
            "files",
            "content",
            "figures",
            "compute",
        )
    }
    store.storage.create(f"{earlier.base}/{RECORD}", dump(Record(**record, **texts, **tables)))
    store.name("slow/pages", earlier)
    events = Journal(store.storage, "runs/20260102-000000-abc", "events")
    events.write("flow", name="slow")
    events.write("started", stage="crawl", key=KEY, attempt=ATTEMPT, config={})
    with being_made(tmp_path):
        assert "starting, begun" in say("crawl", "status", "slow", store=tmp_path)
        with pytest.raises(NoFrontierError, match=r"only just begun.*is finished: ask for slow/pages"):
            say("frontier", "ls", "slow", store=tmp_path)
    assert find_crawl(store, "slow/pages").pages is not None


@contextlib.contextmanager
def being_made(store: Path, key: str = KEY) -> Iterator[None]:
    with Store(str(store)).claim_lock(f"crawl/{key}"):
        yield


def failed(storage: Storage, error: str, status: str = "failed") -> Journal:
    """A later run, in which the crawl was begun again and failed."""
    events = Journal(storage, "runs/20260102-000000-abc", "events")
    events.write("flow", name="slow", command="moinho crawl slow.toml")
    events.write("started", stage="crawl", key=KEY, attempt="b", config={"max_pages": 9})
    events.write("failed", stage="crawl", key=KEY, attempt="b", status=status, error=error, time=time.time())
    return events


def test_a_crawl_that_failed_is_told_with_its_error_and_what_to_do(unfinished, tmp_path: Path) -> None:
    storage, _ = unfinished
    events = failed(storage, "the disk is [full]: make room\nand more")
    told = say("crawl", "status", "slow", store=tmp_path)
    assert re.search(r"state +failed .* ago: the disk is \[full\]: make room\n", told)
    assert "then go on: moinho crawl slow.toml\n" in told
    assert "the disk is [full]" in say("frontier", "ls", "slow", store=tmp_path)
    found = json.loads(say("crawl", "status", "slow", "--json", store=tmp_path))
    assert found["error"] == "the disk is [full]: make room"
    events.write("started", stage="crawl", key=KEY, attempt="c", config={})
    assert "failed" not in say("crawl", "status", "slow", store=tmp_path)


def test_a_crawl_that_was_stopped_has_not_failed(unfinished, tmp_path: Path) -> None:
    storage, _ = unfinished
    failed(storage, "KeyboardInterrupt", "cancelled")
    assert "failed" not in say("crawl", "status", "slow", store=tmp_path)


def test_a_crawl_that_failed_without_a_page_has_a_status_too(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    Attempt(storage, "crawl", KEY, "b").path("log.txt").touch()
    failed(storage, "no seed could be reached: http://x/: unreachable")
    assert "ago: no seed could be reached" in say("crawl", "status", store=tmp_path)
    with pytest.raises(NoFrontierError, match=r"failed, .*: no seed could be reached"):
        say("frontier", "ls", store=tmp_path)


def test_a_report_of_a_crawl_that_is_not_finished_goes_where_it_is_told(unfinished, tmp_path: Path) -> None:
    path = Path(say("crawl", "report", "slow", "--output", str(tmp_path / "r.html"), store=tmp_path).strip())
    assert "trap-calendar" in path.read_text()


def test_a_crawl_that_runs_elsewhere_has_a_status_and_no_frontier(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    tell(storage)
    assert "5 of 5 URLs tried" in say("crawl", "status", store=tmp_path)
    with pytest.raises(NoFrontierError, match="only just begun, or runs on another machine"):
        say("frontier", "ls", store=tmp_path)


def test_a_crawl_that_runs_elsewhere_is_read_as_it_stood_at_its_last_rounds_end(tmp_path: Path) -> None:
    """Each partition by its own last round; an older frontier that lies here does not count."""
    storage = Storage(str(tmp_path))
    tell(storage)
    attempt = Attempt(storage, "crawl", KEY, ATTEMPT)
    plan = Plan(0, 1, 0, max_pages={"00": 9})
    storage.create(f"{attempt.base}/rounds/00000.json", json.dumps(dataclasses.asdict(plan)).encode())
    with pytest.raises(NoFrontierError, match="ended no round yet"):
        say("frontier", "ls", store=tmp_path)
    path = attempt.path("made/00.sqlite")
    small_frontier(path).close()
    file = attempt.publish(path)
    record = ShardRecord(identity="00", files={"frontiers/00.sqlite": file}, counts={"at": 1_700_000_000})
    attempt.finish_shard(plan.step, record)
    moment = time.strftime("%Y-%m-%d", time.localtime(1_700_000_000))
    listed = say("frontier", "ls", "--state", "waiting", store=tmp_path)
    assert f"As of {moment}" in listed
    assert "end of round 1" in listed
    assert f"{SEED}waiting" in listed
    assert f"as of      {moment}" in say("frontier", "why", f"{SEED}waiting", store=tmp_path)
    assert f"as of      {moment}" in say("crawl", "status", store=tmp_path)
    assert "5 of 9 URLs tried" in say("crawl", "status", store=tmp_path)
