"""Which trials a sweep has, what is refused of it, and what is found in results; nothing is trained here."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.training import sweep_plots
from pipeline.training.findings import findings
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.scaling_law import ScalingLaw
from pipeline.training.sweep import AxisError, SweepConfig, SweepPlan

AXES = st.fixed_dictionaries(
    {},
    optional={
        "depth": st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True),
        "learning_rate": st.lists(st.sampled_from([0.003, 0.01, 0.03]), min_size=1, max_size=3, unique=True),
        "optimizer": st.lists(st.sampled_from(["muon", "adamw"]), min_size=1, unique=True),
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    },
).filter(bool)


def plan_of(axes, **pretrain):
    return SweepPlan(pretrain=PretrainConfig(**pretrain), sweep=SweepConfig(axes=axes))


@given(AXES)
def test_every_combination_is_one_trial_with_a_name_of_its_own(axes):
    trials = plan_of(axes).trials()
    wanted = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    assert [dict(trial.point) for trial in trials] == wanted
    assert len({trial.identity for trial in trials}) == len(trials)
    for trial in trials:
        assert {axis: getattr(trial.config, axis) for axis in axes} == dict(trial.point)
        assert not set("/ ") & set(trial.identity)


def test_without_axes_depths_and_learning_rates_around_the_configuration_are_tried():
    trials = plan_of({}, depth=4).trials()
    assert {trial.config.depth for trial in trials} == {1, 2, 4}
    derived = PretrainConfig(depth=4).recipe().learning_rate
    rates = [trial.config.recipe().learning_rate for trial in trials if trial.config.depth == 4]
    assert rates == pytest.approx([0.5 * derived, derived, 2 * derived])


def test_a_factor_multiplies_what_is_set_by_hand():
    (trial,) = plan_of({"learning_rate_factor": (3,)}, learning_rate=0.004).trials()
    assert trial.config.learning_rate == pytest.approx(0.012)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (
            {"depths": [1]},
            "depths is no setting of [pretrain], and only those can be axes; did you mean depth?",
        ),
        (
            {"lr": [1]},
            "lr is no setting of [pretrain], and only those can be axes; there are batch_tokens, decay",
        ),
        ({"depth": []}, "depth has no values; write such as depth = [1, 2]"),
        ({"seed": [1, 2, 1]}, "seed has 1 twice"),
        ({"prompts": ["a"]}, "prompts changes no weights"),
        ({"learning_rate_factor": [0]}, "write positive numbers, such as [0.5, 1, 2]"),
    ],
)
def test_a_wrong_axis_is_refused_with_what_would_work(axes, message):
    with pytest.raises(ValidationError) as refused:
        SweepConfig(axes=axes)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"family": ["gpt2", "bert"]}, "family=bert trains a bert, and trials are compared by bits per byte"),
        (
            {"depth": [2], "width": [128, 250], "heads": [4]},
            "depth=2 width=250 heads=4 is not possible: width ",
        ),
        ({"optimizer": ["adam"]}, "optimizer=adam is not possible: optimizer: "),
        ({"seed": list(range(40)), "depth": list(range(1, 31))}, "more than 1000 trials (40 of seed × 30 of"),
    ],
)
def test_an_impossible_trial_is_named_before_anything_starts(axes, message):
    with pytest.raises(AxisError) as refused:
        plan_of(axes).trials()
    assert message in str(refused.value)


def test_the_key_hangs_on_the_trials_and_not_on_how_they_were_written():
    by_factor = plan_of({"learning_rate_factor": (1.0,)}, depth=2).trials()[0].config
    by_hand = plan_of({"learning_rate": (by_factor.learning_rate,)}, depth=2).trials()[0].config
    assert by_factor == by_hand
    assert plan_of({"seed": (0, 1)}).identity() != plan_of({"seed": (0, 1, 2)}).identity()
    assert plan_of({"depth": (4,)}).identity() == plan_of({"depth": (4,)}, depth=4).identity()


LAW = ScalingLaw(1.0, 0.2, 1.0, 1e13)


def synthetic(best_rate=0.01, rule=lambda depth: 0.01 * 4 / depth, law=LAW):
    """A sweep over depth, learning rate and two seeds whose best rate falls as 1 / depth."""
    rows = []
    for depth, factor, seed in itertools.product((1, 2, 4, 8), (0.25, 0.5, 1, 2, 4), (0, 1)):
        flops, rate = 1e12 * depth**3, best_rate * 4 / depth * factor
        bits = law.loss(flops) + 0.1 * (abs(factor - 1) > 0.1) * abs(factor - 1) + 1e-4 * seed
        row = {"name": f"{depth} {rate}", "point": {"depth": depth, "learning_rate": rate, "seed": seed}}
        row |= {"flops": flops, "depth": depth, "learning_rate": rate, "derived_rate": rule(depth)}
        rows.append(row | {"bits_per_byte": bits, "fault": None, "tokens": 10, "steps": 100})
    return rows


def test_findings_tell_the_law_the_best_rates_and_what_to_set(tmp_path):
    rows = [*synthetic(), {**synthetic()[0], "bits_per_byte": None, "fault": "infinite"}]
    found = findings(rows, PretrainConfig(depth=16))
    assert found["law"]["exponent"] == pytest.approx(0.2, rel=0.1)
    far = found["law"]["foretold"][-1]
    assert far["low"] <= far["bits_per_byte"] <= far["high"]
    assert far["bits_per_byte"] == pytest.approx(LAW.loss(far["flops"]), rel=0.01)
    assert all(group["inside"] for group in found["rates"])
    assert max(each["factor"] for each in found["transfer"]) < 1.01
    # width 1,024 in place of 512: half of what was best at depth 8
    assert found["settings"]["learning_rate"] == pytest.approx(0.0025, rel=0.25)
    json.dumps(found)
    assert sweep_plots.draw(rows, found, tmp_path) == [sweep_plots.LAW, sweep_plots.RATES]
    for name in (sweep_plots.LAW, sweep_plots.RATES):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_rule_that_is_wrong_shows_in_the_transfer():
    found = findings(synthetic(rule=lambda depth: 0.01), PretrainConfig())
    factors = {(each["from_depth"], each["to_depth"]): each["factor"] for each in found["transfer"]}
    assert factors[1, 2] == pytest.approx(2, rel=0.01)
    assert factors[1, 8] == pytest.approx(8, rel=0.01)


@settings(max_examples=20)
@given(st.integers(0, 3))
def test_findings_of_few_trials_are_empty_and_not_wrong(count):
    rows = synthetic()[:count]
    found = findings(rows, PretrainConfig())
    assert found["law"] is None
    assert found["transfer"] == []
    assert (found["best"] is None) == (count == 0)
