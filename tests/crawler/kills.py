"""Kills at random moments of a crawl: start it over the test web, kill something, start it again, judge.

Of the whole, nothing may be missing; of what is fetched again, only what was in flight at a kill, or
answered within the crawl's stated window before it. Victim and moments follow from the seed and the
trial's number, so that a trial can be repeated.

    python -m tests.crawler.kills --kills 20 --seed 0
"""

import argparse
import contextlib
import gzip
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from tests.crawler.testweb.exchange import Request
from tests.crawler.testweb.good import COMMON_SPELLINGS, Size
from tests.crawler.testweb.judge import Crawled, Killed, fetched_again, judge
from tests.crawler.testweb.server import Web, serve
from tests.crawler.testweb.stage import Stage, stage_for
from tests.crawler.testweb.world import good_web
from tests.road import Run, command_of

SIZE = Size(domains=12, fewest_pages=5, most_pages=15)
DELAY_SECONDS = 0.4
"""Politeness makes a crawl long enough to be killed in its midst, and is judged too."""
LAST_SHARE = 0.9
"""Of the pages: kills come before so many were asked for."""
LATER_SECONDS = 0.5
"""After that request a kill comes at most so much later."""
WINDOW_PAGES = 16
"""What a kill may cost of what was answered: a commit comes every 0.25 s, or when so many pages came."""
WINDOW_SECONDS = 5.0
"""An answer older than this was surely processed, however busy the machine; of younger ones so many may
be asked for again as a commit has."""
START_SECONDS, END_SECONDS = 240.0, 400.0
POLL_SECONDS = 0.005
PROCESSES = (1, 2, 4)
ROUND_SECONDS = 3.0
"""Short, so that kills meet beginnings and ends of rounds, too."""

Victim = Literal["partition", "driver", "tree"]
SPIDER = "crawler.spider"
"""What stands in the command line of a partition's child process."""


@dataclass(frozen=True)
class Kill:
    """What is done to a crawl."""

    victim: Victim
    after_pages: int
    """Requests for pages that the web has had when it comes."""
    later_seconds: float
    """How long after the last of them."""
    which: int
    """Number of the partition's process, if that is the victim: modulo how many there are."""


@dataclass(frozen=True)
class Outcome:
    kill: Kill
    hit: bool
    """False if the crawl had ended before."""
    seconds: float
    again: Counter[str]
    """Requests that were repetitions, by why."""
    faults: list[str]


def kill_of(seed: int, trial: int, pages: int) -> Kill:
    chance = random.Random(f"{seed}-{trial}")
    victims: tuple[Victim, ...] = ("partition", "driver", "tree")
    return Kill(
        chance.choice(victims),
        chance.randrange(1, int(LAST_SHARE * pages)),
        chance.uniform(0, LATER_SECONDS),
        chance.randrange(12),
    )


def partitions_of(trial: int) -> tuple[int, int]:
    """Processes of the crawl that is killed, and of the one that goes on: now and then others."""
    before = PROCESSES[trial % len(PROCESSES)]
    return before, PROCESSES[(trial + 1) % len(PROCESSES)] if trial % 5 == 4 else before


def try_kill(folder: Path, kill: Kill, seed: int, partitions: tuple[int, int]) -> Outcome:
    """Crawl, kill, crawl to the end; what is not as it should be comes back as faults, one line each.

    `partitions` is the number of processes of the crawl that is killed, and of the one that goes on.
    """
    start = time.monotonic()
    web = good_web(seed, SIZE, COMMON_SPELLINGS)
    polite = {"delay_seconds": DELAY_SECONDS, "timeout_seconds": 10.0}
    before, after = ({"crawl_processes": count, "crawl_round_seconds": ROUND_SECONDS} for count in partitions)
    with serve(web), stage_for(web, folder, before, **polite) as stage:
        run = stage.start()
        killed = _kill_at(run, web, kill)
        faults = list(_after(run, kill))
        if killed and kill.victim == "driver":  # its crawlers notice, and until then go on asking
            killed = replace(killed, over=time.monotonic())
        going_on = replace(stage, compute={**stage.compute, **after})
        crawled = _finish(going_on, faults) if run.process.returncode else stage.crawled()
        kills = [killed] if killed else []
        if crawled is not None:
            faults += judge(web.hosts, web.log, crawled, delay_seconds=DELAY_SECONDS, kills=kills)
            faults += broken_archives(stage.warcs())
        faults += beyond_window(web.log, kills, partitions[0])
        return Outcome(
            kill, killed is not None, time.monotonic() - start, fetched_again(web.log, kills), faults
        )


def pages_of(seed: int) -> int:
    web = good_web(seed, SIZE, COMMON_SPELLINGS)
    return sum(len(host.pages) for host in web.hosts.values())


def beyond_window(requests: Sequence[Request], kills: Sequence[Killed], partitions: int = 1) -> Iterator[str]:
    """More repetitions of what had been answered than the commits of all partitions may lie behind."""
    again = fetched_again(requests, kills)["not yet durable at a kill"]
    if again > partitions * WINDOW_PAGES:
        yield f"{again} answered pages were fetched again; a commit comes every {WINDOW_PAGES}"


def broken_archives(warcs: Sequence[Path]) -> Iterator[str]:
    """What independent readers find wrong with WARC files.

    `warcio check` compares digests, and takes a file that ends in the midst of a record for whole.
    """
    for path in warcs:
        try:
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        except (EOFError, OSError, zlib.error) as error:
            yield f"{path.name}: {type(error).__name__}: {error}"
    command = [sys.executable, "-m", "warcio.cli", "check", *map(str, warcs)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    if checked.returncode:
        yield f"warcio check: {(checked.stdout + checked.stderr)[-500:]}"


def _kill_at(run: Run, web: Web, kill: Kill) -> Killed | None:
    """Wait until the web has had so many requests, then kill. None if the crawl ended before."""
    end = time.monotonic() + START_SECONDS
    while _asked(web) < kill.after_pages:
        if run.process.poll() is not None:
            return None
        if time.monotonic() > end:
            run.kill()
            raise AssertionError(f"{_asked(web)} requests after {START_SECONDS} s:\n{run.text()[-2000:]}")
        time.sleep(POLL_SECONDS)
    time.sleep(kill.later_seconds)
    victims = _victims(run, kill)
    at = time.monotonic()
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    # On a busy machine the last of many dies a while after the first, and asks for pages until then.
    return Killed(at, WINDOW_SECONDS, over=time.monotonic()) if victims else None


def _victims(run: Run, kill: Kill) -> list[psutil.Process]:
    """None where the crawl has ended, or has no partition's process just then."""
    if run.process.poll() is not None:
        return []
    if kill.victim == "driver":
        return [psutil.Process(run.process.pid)]
    family = run.family()
    if kill.victim == "tree":
        return family
    spiders = sorted((each for each in family if SPIDER in command_of(each)), key=lambda each: each.pid)
    return [spiders[kill.which % len(spiders)]] if spiders else []


def kill_when(condition: Callable[[], bool]) -> None:
    """kill -9 on the crawlers' children among this process's own descendants, once the condition holds."""
    while not condition():
        time.sleep(POLL_SECONDS)
    for child in psutil.Process().children(recursive=True):
        if SPIDER in command_of(child):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _after(run: Run, kill: Kill) -> Iterator[str]:
    """Wait for the killed run's end, and for that of everything that it had started."""
    try:
        run.wait(END_SECONDS)
        run.wait_for_family()
    except AssertionError as error:
        yield f"after the kill of {kill.victim}: {str(error)[:500]}"
        for process in run.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _finish(stage: Stage, faults: list[str]) -> Crawled | None:
    try:
        return stage.finish(END_SECONDS)
    except AssertionError as error:
        faults.append(f"the run after the kill did not end well: {str(error)[-500:]}")
        return None


def _asked(web: Web) -> int:
    return sum(not request.is_well_known for request in list(web.log))


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a crawl of the test web at random moments.")
    parser.add_argument("--kills", type=int, default=20, help="how many trials")
    parser.add_argument("--seed", type=int, default=0, help="what the trials follow from")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to repeat one")
    parser.add_argument("--processes", type=int, help="compute.crawl_processes; default: 1, 2 and 4 in turn")
    parser.add_argument("--then", type=int, help="the same after the kill")
    given = parser.parse_args()
    bad, hits = 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        for trial in range(given.first, given.first + given.kills):
            kill = kill_of(given.seed, trial, pages_of(given.seed))
            here = Path(folder) / f"trial-{trial}"
            before, after = partitions_of(trial)
            before = given.processes or before
            after = given.then or (before if given.processes else after)
            outcome = try_kill(here, kill, given.seed, (before, after))
            bad += bool(outcome.faults)
            hits[kill.victim if outcome.hit else "nothing"] += 1
            print(
                f"{trial:4} {before} → {after} {kill.victim:9} at page {kill.after_pages:4} "
                f"+ {kill.later_seconds:.2f} s "
                f"{outcome.seconds:5.0f} s; again: {dict(outcome.again)}; "
                f"{'; '.join(outcome.faults[:5]) or 'no fault'}",
                flush=True,
            )
            if not outcome.faults:
                shutil.rmtree(here)
        print(f"{given.kills} kills, {bad} with faults; hit {dict(hits)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
