"""The arithmetic of the paper simulation, and that docs/at-scale.md has the tables that it makes."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from pipeline.models.families import parameters, training_flops_per_token
from tests.benchmarks.__main__ import main
from tests.benchmarks.paper.assumed import Cluster, Given, Guessed, Measured, Prices
from tests.benchmarks.paper.cases import CASES, CLUSTERS, PIECES, Case
from tests.benchmarks.paper.crawl import Crawl
from tests.benchmarks.paper.limits import first, limits
from tests.benchmarks.paper.page import MARKED, PAGE, all_tables, count, filled, size, time
from tests.benchmarks.paper.road import Road

GIVEN = Given()
ROADS = {(case.name, cluster.gpus): Road(case, cluster, GIVEN) for case in CASES for cluster in CLUSTERS}
SUMMED = ("spread_seconds", "alone_seconds", "dollars", "tasks", "files", "store_bytes", "network_bytes")
OF_ALL = pytest.mark.parametrize(
    "road", ROADS.values(), ids=lambda road: f"{road.case.name}-{road.cluster.gpus}"
)


def test_the_page_has_the_tables_that_the_simulation_makes() -> None:
    text, tables = PAGE.read_text(encoding="utf-8"), all_tables(GIVEN)
    assert [found["name"] for found in MARKED.finditer(text)] == list(tables)
    assert text == filled(text, tables), "make them anew: python -m tests.benchmarks paper --write"


def test_the_command_prints_every_table_at_the_prices_given(capsys: pytest.CaptureFixture[str]) -> None:
    main(["paper", "--gpu-hour", "7.25"])
    told = capsys.readouterr().out
    assert [line[4:] for line in told.splitlines() if line.startswith("### ")] == list(all_tables(GIVEN))
    assert "| `gpu_hour` | 7.25 |" in told


@OF_ALL
def test_totals_are_the_sums_of_the_stages(road: Road) -> None:
    for name in SUMMED:
        stages = [getattr(stage, name) for stage in road.stages]
        assert getattr(road.total, name) == pytest.approx(sum(stages)), name
        assert min(stages) >= 0, name
        assert all(map(math.isfinite, stages)), name
    assert road.total.task_bytes == max(stage.task_bytes for stage in road.stages)
    assert road.total.hours == pytest.approx(sum(stage.hours for stage in road.stages))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_more_machines_never_take_longer(case: Case) -> None:
    roads = [Road(case, Cluster(gpus), GIVEN) for gpus in (8, 16, 32, 64, 128, 256, 512)]
    for fewer, more in pairwise(roads):
        for before, after in zip(fewer.stages, more.stages, strict=True):
            assert after.seconds <= before.seconds * 1.001, (before.name, more.cluster.gpus)


@pytest.mark.parametrize("gpus", [cluster.gpus for cluster in CLUSTERS])
def test_more_text_takes_longer_and_costs_more(gpus: int) -> None:
    small, large = (ROADS[case.name, gpus] for case in CASES)
    for before, after in zip(small.stages, large.stages, strict=True):
        assert after.seconds >= before.seconds, before.name
        assert after.dollars >= before.dollars, before.name


def test_twice_the_price_is_twice_the_cost() -> None:
    case, cluster = CASES[0], CLUSTERS[0]
    twice = Prices(gpu_hour=2 * GIVEN.prices.gpu_hour, core_hour=2 * GIVEN.prices.core_hour)
    once, doubled = ROADS[case.name, 8], Road(case, cluster, replace(GIVEN, prices=twice))
    assert doubled.total.dollars == pytest.approx(2 * once.total.dollars)


def test_a_step_by_hand() -> None:
    """Eight GPUs, whole copies of the model of a billion, at 35 % of the peak."""
    training = ROADS["1 TB", 8].trained(None)
    shape = training.config.shape()
    assert training.shards == 1
    assert training.config.recipe().batch_tokens == 1_048_576
    weights = parameters(shape, PIECES)
    flops = 1_048_576 / 8 * training_flops_per_token(shape, PIECES, 2_048)
    assert training.step.compute == pytest.approx(flops / (0.35 * 989e12))
    assert training.step.exchange == pytest.approx(2 * 7 / 8 * 4 * weights / 300e9)
    # five steps of Newton and Schulz over three matrices of 2,048 by 5,504, two square ones, two of 512
    sizes = [(2_048, 5_504)] * 3 + [(2_048, 2_048)] * 2 + [(512, 2_048)] * 2
    update = 20 * sum(5 * (4 * a * a * b + 2 * a**3) for a, b in sizes)
    assert training.step.update == pytest.approx(update / (0.35 * 989e12))


def test_a_pause_between_checkpoints_by_hand() -> None:
    """Where a copy is small against the time between failures Daly's pause is Young's, less the copy."""
    training = ROADS["1 TB", 512].training
    between = 8_100 * 3_600 / 512
    assert training.failure_seconds(8_100) == pytest.approx(between)
    young = math.sqrt(2 * training.copy_seconds * between)
    assert training.best_interval(8_100) == pytest.approx(young - training.copy_seconds, rel=0.02)
    best = training.interval(training.best_interval(8_100), 8_100)
    for factor in (0.5, 2.0):
        other = training.interval(best.seconds * factor, 8_100)
        assert other.lost_share >= best.lost_share or best.seconds == training.write_seconds


def test_extraction_by_hand() -> None:
    """Of a terabyte: 75 million pages, a hundred in a slice, whose files are spread over 512 buckets."""
    road = ROADS["1 TB", 64]
    assert road.amounts.pages == 75_000_000
    assert road.slices == 750_000
    assert road.slice_files == pytest.approx(512 * (1 - (511 / 512) ** 100))
    stage = road.stage("extract")
    assert stage.driver_bytes == pytest.approx(
        75e6 * GIVEN.measured.page_bytes + 750_000 * road.slice_files * GIVEN.measured.file_bytes
    )
    assert stage.spread_seconds >= 0.15e-6 * 4.5e12 / road.cluster.cores


def test_a_driver_that_must_not_be_asked_too_much_is_given_fewer_workers() -> None:
    quick = replace(GIVEN, measured=replace(Measured(), wait_seconds=1e-12))
    case, cluster = CASES[0], CLUSTERS[-1]
    slow, free = Road(case, cluster, GIVEN).stage("extract"), Road(case, cluster, quick).stage("extract")
    assert slow.workers < free.workers <= cluster.cores
    assert slow.spread_seconds > free.spread_seconds


def test_what_breaks_first_comes_first_and_goes_away_with_its_cause() -> None:
    road = ROADS["1 TB", 64]
    broken = [limit for limit in limits(road) if limit.breaks]
    for ends in (True, False):
        assert first(road, ends) == next(limit for limit in broken if limit.ends == ends)
    roomy = replace(road.cluster, node_bytes=1e15, node_disk_bytes=1e18, gpu_node_bytes=1e18)
    easy = replace(GIVEN, guessed=replace(Guessed(), open_files=10**9))
    left = {limit.what for limit in limits(Road(road.case, roomy, easy)) if limit.breaks}
    assert left < {limit.what for limit in broken}
    assert not any("memory of a task" in what or "has open" in what for what in left)


@OF_ALL
def test_every_limit_names_a_module_that_is_there(road: Road) -> None:
    for limit in limits(road):
        path = limit.module.split(",")[0].split(";")[0]
        assert (PAGE.parents[1] / path).is_file(), limit.module


def test_a_crawl_is_bound_by_what_takes_longest() -> None:
    crawl = Crawl(75_000_000, 256, GIVEN)
    assert crawl.hosts == 37_500
    assert crawl.bounds["politeness"] == pytest.approx(2_000 * 5)
    assert crawl.seconds == max(crawl.bounds.values())


def test_numbers_are_told_as_readers_want_them() -> None:
    assert [size(value) for value in (4.5e12, 999, 225e9)] == ["4.5 TB", "999 B", "225 GB"]
    assert [count(value) for value in (75e6, 2_048, 4.47e9)] == ["75·10⁶", "2,048", "4.47·10⁹"]
    assert [time(value) for value in (0.043, 90, 7_200, 14 * 86_400)] == [
        "43 ms",
        "1.5 min",
        "2 h",
        "14 days",
    ]
