"""What ends a training against a reward, and what does not."""

import json
import re

import pytest

from pipeline.alignment.guards import Guards, GuardsConfig, Vitals, repetition

FIRST = Vitals(tokens=30.0, repetition=0.1, kl=0.0, entropy=2.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kl": 31.0}, r"31\.0 nats per answer, above guards\.kl_ceiling \(30\)"),
        ({"tokens": 7.0}, r"7\.0 tokens on average, at first 30\.0"),
        ({"tokens": 130.0}, r"guards\.length_factor \(4\)"),
        ({"repetition": 0.5}, r"50% of an answer repeats what it said, at first 10%"),
        ({"entropy": 0.1}, r"entropy of the next token is 0\.1 nats, at first 2"),
    ],
)
def test_each_collapse_is_told_with_its_numbers_and_ends_the_training_when_it_stays(change, told):
    guards = Guards(GuardsConfig())
    assert guards.judge(FIRST) == []
    for gives_up in (False, True):
        faults = guards.judge(FIRST.model_copy(update=change))
        assert len(faults) == 1
        assert re.search(told, faults[0])
        assert guards.gives_up == gives_up


def test_one_bad_step_alone_is_chance():
    guards = Guards(GuardsConfig())
    bad = FIRST.model_copy(update={"kl": 99.0})
    for vitals in (FIRST, bad, FIRST, bad, FIRST):
        guards.judge(vitals)
        assert not guards.gives_up


def test_a_guard_goes_on_from_what_was_written_down():
    guards = Guards(GuardsConfig(patience=2))
    guards.judge(FIRST)
    guards.judge(FIRST.model_copy(update={"tokens": 1.0}))
    again = Guards(GuardsConfig(patience=2), json.loads(json.dumps(guards.memory)))
    assert again.judge(FIRST.model_copy(update={"tokens": 1.0}))
    assert again.gives_up


def test_what_is_not_measured_is_not_judged():
    guards = Guards(GuardsConfig())
    for _ in range(3):
        assert guards.judge(Vitals(tokens=30.0, repetition=0.1)) == []


def test_repetition_is_the_share_of_pieces_that_were_there_before():
    assert repetition([1, 2, 3]) == 0
    assert repetition(list(range(20))) == 0
    assert repetition([7] * 23) == pytest.approx(1 - 1 / 20)
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
