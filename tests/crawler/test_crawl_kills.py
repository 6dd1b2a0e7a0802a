"""A crawl of the test web is killed and started again: nothing is missing, and little is asked for twice."""

import gzip
import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.crawler.kills import (
    WINDOW_SECONDS,
    beyond_window,
    broken_archives,
    kill_of,
    pages_of,
    partitions_of,
    try_kill,
)
from tests.crawler.testweb.exchange import Request
from tests.crawler.testweb.judge import Killed

SEED = 0
MANY = 20
"""Trials of `make test-all`; by hand, `python -m tests.crawler.kills` does as many as one likes."""


def test_kills_follow_from_seed_and_trial_and_hit_everything() -> None:
    kills = [kill_of(SEED, trial, 100) for trial in range(MANY)]
    assert kills == [kill_of(SEED, trial, 100) for trial in range(MANY)]
    assert {kill.victim for kill in kills} == {"partition", "driver", "tree"}
    assert all(0 < kill.after_pages < 90 for kill in kills)
    partitions = [partitions_of(trial) for trial in range(MANY)]
    assert {before for before, _ in partitions} == {1, 2, 4}
    assert sum(before != after for before, after in partitions) == MANY // 5


def test_more_repetitions_than_a_commit_may_lie_behind_are_found() -> None:
    kill = Killed(at=10.0, window_seconds=WINDOW_SECONDS)
    log = [
        Request("a.example", f"/{number}", at, ended=at, status=200, whole=True)
        for number in range(17)
        for at in (9.9, 11.0)
    ]
    assert len(list(beyond_window(log, [kill]))) == 1
    assert list(beyond_window(log[2:], [kill])) == []
    assert list(beyond_window(log, [kill], partitions=2)) == []


def test_an_archive_that_is_torn_or_changed_is_found(tmp_path: Path) -> None:
    """Also where the readers that check digests find nothing to check."""
    whole, torn, changed = (tmp_path / f"{name}.warc.gz" for name in ("whole", "torn", "changed"))
    with whole.open("wb") as file:
        writer = WARCWriter(file, gzip=True, warc_version="WARC/1.1")
        payload = io.BytesIO(b"body" * 1000)
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        writer.write_record(
            writer.create_warc_record("http://a.example/", "response", payload, http_headers=head)
        )
    torn.write_bytes(whole.read_bytes()[:-20])
    changed.write_bytes(gzip.compress(gzip.decompress(whole.read_bytes()).replace(b"bodybody", b"bodyBODY")))
    assert list(broken_archives([whole])) == []
    assert len(list(broken_archives([torn]))) == 1
    assert len(list(broken_archives([changed]))) == 1


@pytest.mark.everything
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trial", range(MANY))
def test_a_crawl_killed_at_any_moment_goes_on_to_every_page(trial: int, tmp_path: Path) -> None:
    outcome = try_kill(tmp_path, kill_of(SEED, trial, pages_of(SEED)), SEED, partitions_of(trial))
    assert outcome.faults == [], outcome
