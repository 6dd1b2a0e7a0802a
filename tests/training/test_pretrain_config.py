"""What depth derives, what enters the key, and what is refused before anything starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.training.pretrain import BatchError, TooFewTokensError, check_rows
from pipeline.training.pretrain_config import PretrainConfig, Recipe
from pipeline.training.schedule import learning_rate_factor


@given(st.integers(1, 64))
def test_every_depth_derives_a_complete_recipe(depth):
    recipe = PretrainConfig(depth=depth).recipe()
    assert recipe.width == 64 * depth
    assert recipe.width % (2 * recipe.heads) == 0
    assert recipe.heads % recipe.key_value_heads == 0
    assert recipe.steps >= 1 > recipe.learning_rate > 0
    assert recipe.warmup_steps < recipe.steps


@given(st.integers(2, 40), st.sampled_from(sorted(Recipe.__dataclass_fields__)))
def test_setting_a_derived_value_by_hand_to_itself_gives_the_same_key(depth, name):
    config = PretrainConfig(depth=depth)
    by_hand = PretrainConfig(depth=depth, **{name: config.resolved()[name]})
    assert by_hand.identity() == config.identity()


@given(st.sampled_from(["width", "heads", "key_value_heads", "mlp_width", "batch_tokens", "learning_rate"]))
def test_setting_a_derived_value_to_another_gives_another_key(name):
    other = {"width": 512, "heads": 2, "key_value_heads": 1, "mlp_width": 100, "batch_tokens": 8192}
    config = PretrainConfig(**{name: other.get(name, 0.5)})
    assert config.identity() != PretrainConfig().identity()


def test_a_width_set_by_hand_moves_what_hangs_on_it():
    recipe = PretrainConfig(depth=2, width=512).recipe()
    assert (recipe.heads, recipe.key_value_heads, recipe.mlp_width) == (8, 8, 1408)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 250, "heads": 4}, "width is 250, not a multiple of 2 * heads (8); try 248"),
        ({"heads": 4, "key_value_heads": 3}, "key_value_heads is 3, heads (4) is no multiple of it; try 2"),
        ({"steps": 50, "warmup_steps": 50}, "warmup_steps is 50, the whole run has 50 steps; try 2"),
    ],
)
def test_impossible_values_are_refused_with_one_that_works(values, message):
    with pytest.raises(ValidationError) as refused:
        PretrainConfig(**values)
    assert message in str(refused.value)


def test_a_batch_that_holds_no_whole_rows_is_refused_with_one_that_does():
    with pytest.raises(BatchError, match=r"4100, not a multiple of the rows' 256 tokens; try 4096"):
        check_rows(4100, 256, 1000, 10)


def test_a_corpus_smaller_than_a_batch_says_which_batch_would_do():
    with pytest.raises(TooFewTokensError, match=r"fill 7 rows \(1,792 tokens\).*at most 1792"):
        check_rows(4096, 256, 7, 10)


def test_a_corpus_without_held_out_documents_is_refused():
    with pytest.raises(TooFewTokensError, match="no document was held out"):
        check_rows(4096, 256, 1000, 0)


@given(st.integers(1, 400), st.floats(0.01, 1), st.sampled_from(["wsd", "cosine"]), st.data())
def test_the_learning_rate_rises_then_never_rises_again_and_ends_near_zero(steps, decay, schedule, data):
    warmup = data.draw(st.integers(0, steps - 1))
    factors = [learning_rate_factor(step, steps, warmup, schedule, decay) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    if schedule == "wsd":
        assert factors[-1] <= max(1 / max(1, round(decay * steps)), 1 / steps) + 1e-9
    elif steps - warmup > 20:
        assert factors[-1] < 0.01
