"""What the fits find again of what they were given."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.training.scaling_law import ScalingLaw, best_rate, envelope, fit, without_each

LAWS = st.builds(
    ScalingLaw,
    scale=st.floats(0.2, 5),
    exponent=st.floats(0.05, 0.5),
    floor=st.floats(0.1, 2),
    flops=st.just(1e15),
)


def points_of(law, count, decades):
    return [
        (flops, law.loss(flops))
        for flops in (law.flops * 10 ** (decades * (place / (count - 1) - 0.5)) for place in range(count))
    ]


@settings(max_examples=25)
@given(LAWS, st.integers(6, 10))
def test_a_law_is_found_again_from_its_points(law, count):
    found = fit(points_of(law, count, decades=4))
    assert found.exponent == pytest.approx(law.exponent, rel=0.02)
    assert found.floor == pytest.approx(law.floor, rel=0.05, abs=0.02)
    further = law.flops * 1e3
    assert found.loss(further) == pytest.approx(law.loss(further), rel=0.01)


@settings(max_examples=25)
@given(st.floats(0.2, 5), st.floats(0.02, 0.5), st.integers(2, 3))
def test_few_points_give_a_power_law_without_a_floor(scale, exponent, count):
    found = fit(points_of(ScalingLaw(scale, exponent, 0.0, 1e15), count, decades=2))
    assert found.floor == 0
    assert found.exponent == pytest.approx(exponent, rel=1e-3)


def test_one_size_alone_tells_no_law():
    assert fit([(1e12, 2.0), (1e12, 2.1)]) is None
    assert fit([]) is None


def test_a_point_that_went_wrong_hardly_moves_the_law():
    law = ScalingLaw(1.0, 0.2, 1.0, 1e15)
    points = points_of(law, 9, decades=4)
    points[4] = (points[4][0], points[4][1] * 1.1)
    assert fit(points).loss(1e18) == pytest.approx(law.loss(1e18), rel=0.02)


@given(st.lists(st.tuples(st.floats(1e9, 1e18), st.floats(0.5, 5)), min_size=1, max_size=30))
def test_nothing_lies_below_the_envelope(points):
    best = envelope(points)
    assert best == sorted(best)
    assert [loss for _, loss in best] == sorted((loss for _, loss in best), reverse=True)
    for flops, loss in points:
        assert min(reached for needed, reached in best if needed <= flops) <= loss


@given(st.floats(-3, 3), st.floats(0.01, 5), st.floats(0.5, 3))
def test_the_best_rate_of_a_parabola_is_its_lowest_point(place, steepness, lowest):
    rates = [0.01 * 2.0**power for power in range(-5, 6)]
    best = 0.01 * 2.0**place
    losses = {rate: lowest + steepness * math.log(rate / best) ** 2 for rate in rates}
    found = best_rate(losses)
    assert found.inside
    assert found.learning_rate == pytest.approx(best, rel=1e-4)


def test_the_best_rate_at_the_end_of_the_grid_is_told_as_such():
    found = best_rate({0.01: 2.0, 0.02: 1.9, 0.04: 1.8})
    assert found.learning_rate == 0.04
    assert not found.inside


def test_the_law_without_each_point_shows_how_much_is_known():
    sure = points_of(ScalingLaw(1.0, 0.2, 1.0, 1e15), 6, decades=4)
    shaken = [(flops, loss * (1.03 if place % 2 else 0.97)) for place, (flops, loss) in enumerate(sure)]

    def spread(points):
        far = [law.loss(1e19) for law in without_each(points)]
        return max(far) - min(far)

    assert spread(sure) < 0.01 < spread(shaken)
