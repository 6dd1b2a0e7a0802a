"""However a training is divided among its workers, it is the same training."""

from pathlib import Path

import pytest

from pipeline.models.cost import Division
from pipeline.training.fit import LayoutError, check_division, check_heads
from tests.training.layouts import Case, Outcome, run

MUON, ADAMW = {"optimizer": "muon"}, {"optimizer": "adamw"}
TOLERANCE = {"muon": 5e-3, "adamw": 1e-3}
"""In nats, over 50 steps in fp32. Muon's matrices are made orthogonal in bf16, so that the last bit of a
gradient shows: on one process another micro-batch already makes 4e-4. From the same gradients the update
is the same to the bit, however matrices are cut (test_cut_matrices.py)."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Outcome]]:
    """A training on one process: its first state, its state at half, and the whole of it."""
    folder = tmp_path_factory.mktemp("alone")
    outcomes = {}
    for config in (MUON, ADAMW):
        name = config["optimizer"]
        for case in (
            Case(f"seed-{name}", config=config, until=0),
            Case(f"half-{name}", config=config, start=f"seed-{name}", until=25),
            Case(f"whole-{name}", config=config, start=f"seed-{name}"),
        ):
            outcomes |= run(folder, [case])
    return folder, outcomes


def check_same(found: Outcome, expected: Outcome, tolerance: float) -> None:
    assert found.losses == pytest.approx(expected.losses, abs=tolerance)
    assert found.norms[:20] == pytest.approx(expected.norms[:20], rel=1e-3)
    assert found.held_out_loss == pytest.approx(expected.held_out_loss, abs=tolerance)
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in found.weights.items():
        assert (weight - expected.weights[name]).abs().mean() < 10 * tolerance


def test_two_processes_that_share_or_cut_the_model_learn_as_one_does(alone):
    folder, expected = alone
    found = run(
        folder,
        [
            Case("copies", 2, {"shards": 1}, ADAMW, "seed-adamw"),
            Case("shards", 2, {"shards": "all"}, MUON, "seed-muon"),
            Case("products", 2, {"tensor_parallel": 2}, ADAMW, "seed-adamw"),
        ],
    )
    check_same(found["copies"], expected["whole-adamw"], TOLERANCE["adamw"])
    check_same(found["shards"], expected["whole-muon"], TOLERANCE["muon"])
    check_same(found["products"], expected["whole-adamw"], TOLERANCE["adamw"])


def test_a_checkpoint_of_one_process_goes_on_in_shards_and_back(alone):
    folder, expected = alone
    cut = Case("onto-shards", 2, {"shards": "all"}, ADAMW, "half-adamw", until=40)
    check_part(run(folder, [cut])["onto-shards"], expected["whole-adamw"].losses[25:40], 1e-4)
    back = run(folder, [Case("back", 1, {}, ADAMW, "onto-shards")])["back"]
    check_part(back, expected["whole-adamw"].losses[40:], 1e-4)


def check_part(found: Outcome, losses: list[float], tolerance: float) -> None:
    assert found.losses == pytest.approx(losses, abs=tolerance)


@pytest.mark.everything
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_four_processes_learn_as_one_does(alone, optimizer):
    folder, expected = alone
    ways = {
        "copies": {"shards": 1},
        "shards": {"shards": 4},
        "hybrid": {"shards": 2},
        "products-copies": {"tensor_parallel": 2},
        "products-shards": {"tensor_parallel": 2, "shards": 2},
        "again": {"shards": 2, "activation_checkpointing": "every-second", "offload_optimizer": True},
    }
    cases = [
        Case(f"four-{name}-{optimizer}", 4, way, {"optimizer": optimizer}, f"seed-{optimizer}")
        for name, way in ways.items()
    ]
    for outcome in run(folder, cases).values():
        check_same(outcome, expected[f"whole-{optimizer}"], TOLERANCE[optimizer])


@pytest.mark.everything
def test_muons_state_goes_from_any_layout_to_any_other(alone):
    folder, expected = alone
    four = [Case("four", 4, {"shards": 2, "tensor_parallel": 2}, MUON, "half-muon", until=32)]
    two = [Case("two", 2, {"tensor_parallel": 2}, MUON, "four", until=38)]
    shards = [Case("two-shards", 2, {"shards": 2}, MUON, "two", until=44)]
    one = [Case("one", 1, {}, MUON, "two-shards")]
    first = 25
    for cases in (four, two, shards, one):
        outcome = run(folder, cases)[cases[0].name]
        losses = expected["whole-muon"].losses[first : first + len(outcome.losses)]
        check_part(outcome, losses, TOLERANCE["muon"])
        first += len(outcome.losses)


@pytest.mark.everything
def test_bf16_learns_alike_where_layers_are_gathered_in_bf16(alone):
    folder, _ = alone
    bf16 = ADAMW | {"precision": "bf16"}
    expected = run(folder, [Case("bf16", config=bf16, start="seed-adamw")])["bf16"]
    found = run(folder, [Case("bf16-shards", 2, {"shards": 2}, bf16, "seed-adamw")])["bf16-shards"]
    assert found.losses == pytest.approx(expected.losses, abs=2e-2)


def test_what_is_computed_again_and_what_travels_gives_the_same_bits(alone):
    folder, expected = alone
    saving = {"activation_checkpointing": "every-second", "offload_optimizer": True}
    for optimizer in (MUON, ADAMW):
        name = optimizer["optimizer"]
        found = run(folder, [Case(f"again-{name}", 1, saving, optimizer, f"seed-{name}")])[f"again-{name}"]
        whole = expected[f"whole-{name}"]
        assert found.losses == (whole.losses if name == "adamw" else pytest.approx(whole.losses, abs=1e-3))


@pytest.mark.parametrize(
    ("division", "told"),
    [
        (Division(workers=6, tensor_parallel=4), "compute.tensor_parallel to 1, 2, 3 or 6"),
        (Division(workers=6, shards=4), 'compute.shards to 1, 2, 3 or 6, or to "all"'),
        (Division(workers=8, tensor_parallel=2, shards=8), "in 4 groups with rows of their own"),
    ],
)
def test_workers_that_cannot_be_divided_so_are_told_how_they_can(division, told):
    with pytest.raises(LayoutError, match=told):
        check_division(division)


def test_heads_that_cannot_be_dealt_out_are_named():
    with pytest.raises(LayoutError, match=r"6 heads of keys and values .* set it to 1, 2, 3 or 6"):
        check_heads(4, 6, 1536)
