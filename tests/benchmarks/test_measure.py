"""What all benchmarks share. The benchmarks themselves are not tests: they are run by name."""

import json
import re
import subprocess
import sys
import time
from urllib.parse import urljoin

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.measure import Pair, Result, cpu_seconds, in_turn, report, wall_seconds
from tests.benchmarks.served_hosts import front_of, url_of
from tests.benchmarks.served_site import page, path_of


def test_the_ratio_is_the_median_of_the_turns_and_the_interval_holds_them_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = [Pair(8, 10), Pair(30, 10), Pair(9, 10), Pair(1, 10), Pair(20, 16)]
    report(Result("grinding", "sacks per hour", 0.8, pairs, {"stones": 2}))
    told = capsys.readouterr().out.splitlines()
    assert json.loads(told[-1]) == {
        "name": "grinding",
        "ratio": 0.9,
        "interval": [0.1, 3.0],
        "target": 0.8,
        "unit": "sacks per hour",
        "ours": [8, 30, 9, 1, 20],
        "reference": [10, 10, 10, 10, 16],
        "stones": 2,
    }
    assert "ratio 0.900 (median; 0.100 to 3.000), target 0.8: met" in told


def test_ours_and_the_reference_take_turns() -> None:
    order: list[str] = []

    def measure(name: str, figure: float) -> float:
        order.append(name)
        return figure

    pairs = in_turn(lambda: measure("ours", 3), lambda: measure("reference", 2), 3)
    assert order == ["ours", "reference"] * 3
    assert [pair.ratio for pair in pairs] == [1.5] * 3


def test_children_that_ended_count_and_waiting_does_not() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    with cpu_seconds() as cpu, wall_seconds() as wall:
        subprocess.run([sys.executable, "-c", busy], check=True)
        time.sleep(0.3)
    assert 0.29 < cpu[0] < wall[0] - 0.2


def test_an_unknown_name_is_answered_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert ", ".join(map(repr, BENCHMARKS)) in capsys.readouterr().err


def test_every_page_of_the_hosts_that_are_served_is_reached_from_their_front_pages() -> None:
    hosts, pages = 10, 30
    waiting = [front_of(host) for host in range(hosts)]
    reached = set(waiting)
    sites = {front_of(host).split("/")[2]: host for host in range(hosts)}
    numbers = {path_of(number): number for number in range(pages)}
    for here in waiting:
        host = sites[here.split("/")[2]]
        number = numbers["/" + here.split("/", 4)[4]]
        html = page(number, pages, 8, lambda target, host=host: url_of(host, target, hosts)).decode()  # type: ignore[misc]
        for link in re.findall(r'href="([^"]*)"', html):
            url = urljoin(here, link)
            if url not in reached:
                reached.add(url)
                waiting.append(url)
    assert len(reached) == hosts * pages
