"""PPO's arithmetic against the same written down with numpy, a token at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alignment import ppo_losses

LENGTHS = (4, 1, 6, 3)
A = 6


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def ragged(random: np.random.Generator) -> list[list[float]]:
    return [list(random.normal(size=length)) for length in LENGTHS]


def padded(lists: list[list[float]], behind: float = 0.0) -> torch.Tensor:
    return torch.tensor([each + [behind] * (A - len(each)) for each in lists], dtype=torch.float64)


MASK = padded([[1.0] * length for length in LENGTHS])


def test_an_answers_score_comes_at_its_last_token_and_each_nat_from_the_reference_costs(random):
    kl = ragged(random)
    scores = [1.0, -2.0, 0.5, 3.0]
    # what lies behind an answer's end must not count
    found = ppo_losses.token_rewards(torch.tensor(scores).double(), padded(kl, behind=7.0), MASK, 0.1)
    expected = [[-0.1 * value for value in each] for each in kl]
    for each, score in zip(expected, scores, strict=True):
        each[-1] += score
    assert found.numpy() == pytest.approx(padded(expected).numpy())


@pytest.mark.parametrize(("discount", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.97, 0.0)])
def test_advantages_are_the_discounted_sums_of_surprises(random, discount, gae_lambda):
    rewards, values = ragged(random), ragged(random)
    expected = []
    for given_rewards, given_values in zip(rewards, values, strict=True):
        length = len(given_rewards)
        after = [*given_values[1:], 0.0]
        surprises = [given_rewards[t] + discount * after[t] - given_values[t] for t in range(length)]
        expected.append(
            [
                sum((discount * gae_lambda) ** (k - t) * surprises[k] for k in range(t, length))
                for t in range(length)
            ]
        )
    found, returns = ppo_losses.advantages(
        padded(rewards), padded(values, behind=5.0), MASK, discount, gae_lambda
    )
    assert found.numpy() == pytest.approx(padded(expected).numpy())
    assert returns.numpy() == pytest.approx((padded(expected) + padded(values)).numpy())


def test_with_lambda_one_an_advantage_is_what_came_less_what_was_expected(random):
    rewards, values = ragged(random), ragged(random)
    found, returns = ppo_losses.advantages(padded(rewards), padded(values), MASK, 1.0, 1.0)
    to_come = padded([[sum(each[t:]) for t in range(len(each))] for each in rewards])
    assert returns.numpy() == pytest.approx(to_come.numpy())
    assert found.numpy() == pytest.approx((to_come - padded(values)).numpy())


def test_whitened_tokens_have_mean_0_and_variance_1_and_the_rest_is_0(random):
    values = ragged(random)
    found = ppo_losses.whitened(padded(values, behind=9.0), MASK)
    every = np.concatenate(values)
    expected = [[(value - every.mean()) / every.std() for value in each] for each in values]
    assert found.numpy() == pytest.approx(padded(expected).numpy(), abs=1e-6)


def test_a_token_that_moved_too_far_in_its_advantages_direction_has_no_gradient():
    clip = 0.2
    cases = [  # how much likelier, advantage, loss by hand, whether it still learns
        (1.5, 2.0, -2.0 * 1.2, False),
        (1.5, -2.0, 2.0 * 1.5, True),
        (0.5, 2.0, -2.0 * 0.5, True),
        (0.5, -2.0, 2.0 * 0.8, False),
        (1.1, 2.0, -2.0 * 1.1, True),
        (1.0, -1.0, 1.0, True),
    ]
    old = torch.full((1, len(cases)), math.log(0.3))
    new = (old + torch.tensor([[math.log(ratio) for ratio, *_ in cases]])).requires_grad_()
    losses = ppo_losses.policy_losses(new, old, torch.tensor([[case[1] for case in cases]]), clip)
    assert losses[0].tolist() == pytest.approx([case[2] for case in cases], rel=1e-5)
    losses.sum().backward()
    assert new.grad is not None
    assert [bool(value) for value in new.grad[0]] == [case[3] for case in cases]


def test_an_expectation_that_moved_too_far_counts_as_bad_as_before():
    cases = [(1.0, 0.0, 1.0), (0.1, 0.0, 1.0), (-3.0, 0.0, 1.0), (0.5, 1.0, 1.0)]  # now, before, return
    values, before, returns = (torch.tensor([column]) for column in zip(*cases, strict=True))
    expected = []
    for now, old, wanted in cases:
        clipped = min(max(now, old - 0.2), old + 0.2)
        expected.append(0.5 * max((now - wanted) ** 2, (clipped - wanted) ** 2))
    assert ppo_losses.value_losses(values, before, returns, 0.2)[0].tolist() == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_mean_log_ratio_estimates_the_kl_divergence_and_entropies_are_exact(seed):
    random = np.random.default_rng(seed)
    p, q = random.dirichlet(np.ones(5)), random.dirichlet(np.ones(5))
    drawn = torch.from_numpy(random.choice(5, 20_000, p=p))[None]
    log_p, log_q = torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))
    found = ppo_losses.log_ratios(log_p[drawn], log_q[drawn], torch.ones(drawn.shape))
    exact = float((p * np.log(p / q)).sum())
    error = float(found.std()) / math.sqrt(drawn.numel())
    assert float(found.mean()) == pytest.approx(exact, abs=6 * error + 1e-6)
    assert float(ppo_losses.entropies(log_p[None, None])) == pytest.approx(-float((p * np.log(p)).sum()))


def test_the_share_that_was_foreseen():
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert ppo_losses.explained_share(returns, returns + 5, mask) == pytest.approx(1)
    assert ppo_losses.explained_share(returns, torch.full((1, 4), 2.0), mask) == pytest.approx(0)
    assert ppo_losses.explained_share(returns, -returns, mask) < 0
    assert ppo_losses.explained_share(torch.ones(1, 4), returns, mask) == 0
