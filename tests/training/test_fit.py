"""What a training needs of each worker is known before it starts: chosen so that it fits, or refused."""

import re
from typing import Any

import pytest

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.models import cost
from pipeline.models.cost import Division
from pipeline.models.families import Shape, mlp_width_for, parameters
from pipeline.training.fit import DoesNotFitError, LayoutError, Trained
from pipeline.training.resolve import Resolved, resolve

BILLION = Shape(20, 2048, 16, 16, mlp_width_for(2048), tied_embeddings=True)
SEVEN_BILLION = Shape(32, 4096, 32, 32, 11008, tied_embeddings=False)


def resolved(
    shape: Shape, workers: int, kept: dict[str, Any] | None = None, device: str = "cuda", **compute: Any
) -> Resolved:
    return resolve(
        ComputeConfig(**compute),
        kept,
        device=device,
        workers=workers,
        batch_rows=512,
        row_tokens=2048,
        vocabulary_size=32_000,
        flops=1e20,
        products="bf16",
        trained=Trained(shape, "muon"),
    )


def with_sets(message: str, **compute: Any) -> dict[str, Any]:
    """The configuration after what the message says was taken over."""
    found = dict(re.findall(r"--set compute\.(\w+)=(\S+)", message))
    assert found, message
    read = {
        name: int(value) if value.isdigit() else {"true": True, "false": False}.get(value, value)
        for name, value in found.items()
    }
    return compute | read


def test_what_fits_whole_is_left_whole():
    found = resolved(BILLION, 8, worker_memory_gb=80)
    assert found.division == Division(workers=8)
    assert 1 < found.micro_batch_rows <= 32


def test_the_micro_batch_grows_with_the_gpu():
    rows = [resolved(BILLION, 8, worker_memory_gb=gb).micro_batch_rows for gb in (40, 80, 140)]
    assert rows == sorted(rows)
    assert rows[0] < rows[2]


def test_what_does_not_fit_whole_is_cut_into_as_few_shards_as_fit():
    few = resolved(SEVEN_BILLION, 16, worker_memory_gb=80)
    assert 1 < few.shards <= 16
    assert 16 % few.shards == 0
    more = resolved(SEVEN_BILLION, 16, worker_memory_gb=24)
    assert more.shards >= few.shards


@pytest.mark.parametrize(
    ("compute", "first"),
    [
        ({"micro_batch_rows": 64, "shards": 8, "activation_checkpointing": "none"}, "micro_batch_rows"),
        (
            {
                "micro_batch_rows": 1,
                "shards": 4,
                "activation_checkpointing": "none",
                "worker_memory_gb": 31,
                "offload_optimizer": False,
            },
            "activation_checkpointing",
        ),
        ({"shards": 1, "offload_optimizer": False}, "shards"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused_with_the_nearest_that_does(compute, first):
    given = {"worker_memory_gb": 80} | compute
    with pytest.raises(
        DoesNotFitError, match=r"needs \d+\.\d GB .* would do with --set compute\."
    ) as refusal:
        resolved(SEVEN_BILLION, 8, **given)
    sets = re.findall(r"--set compute\.(\w+)=", str(refusal.value))
    assert sets == [first]
    found = resolved(SEVEN_BILLION, 8, **with_sets(str(refusal.value), **given))
    assert found.workers == 8


def test_a_refusal_says_how_the_training_lies_that_its_figures_are_of():
    """By itself what needs least; else what was asked for. The parts add up, and weights are 4 bytes each."""
    weights = 4 * parameters(BILLION, 32_000) / 1e9
    given = {"micro_batch_rows": 64, "worker_memory_gb": 80}
    with pytest.raises(DoesNotFitError) as refusal:
        resolved(BILLION, 8, shards=1, **given)
    told = str(refusal.value)
    assert (
        "a whole copy, all layers computed again, the optimizer's state outside of the GPU (weights" in told
    )
    assert f"(weights {weights:.1f}, 64 rows" in told
    total, has, kept, step, rest = (
        float(re.search(pattern, told)[1])
        for pattern in (
            r"needs (\S+) GB",
            r"has (\S+) GB",
            r"weights (\S+),",
            r"time (\S+) and",
            r"free (\S+)\)",
        )
    )
    assert total == pytest.approx(kept + step + rest, abs=0.2)
    assert has == 80
    asked = {"activation_checkpointing": "none", "offload_optimizer": False, "shards": 1}
    with pytest.raises(
        DoesNotFitError, match=r"a whole copy, no layer computed again \(weights and optimizer"
    ):
        resolved(BILLION, 8, **given, **asked)


def test_more_workers_are_named_where_nothing_else_helps():
    with pytest.raises(DoesNotFitError, match="training_workers=") as refusal:
        resolved(SEVEN_BILLION, 1, worker_memory_gb=24)
    given = with_sets(str(refusal.value), worker_memory_gb=24)
    assert resolved(SEVEN_BILLION, **({"workers": given.pop("training_workers")} | given)).shards > 1


def test_what_fits_on_no_number_of_workers_is_told_so():
    with pytest.raises(DoesNotFitError, match=r"set pretrain\.depth or pretrain\.width lower"):
        resolved(SEVEN_BILLION, 8, worker_memory_gb=1.6)


def test_a_memory_that_is_not_known_refuses_nothing():
    assert resolved(SEVEN_BILLION, 8).division == Division(workers=8)


def test_a_run_goes_on_divided_as_it_was_and_on_other_workers_as_it_fits():
    first = resolved(SEVEN_BILLION, 8, worker_memory_gb=80)
    kept = first.as_dict()
    assert resolved(SEVEN_BILLION, 8, kept, worker_memory_gb=20) == first
    fewer = resolved(SEVEN_BILLION, 4, kept, worker_memory_gb=80)
    assert fewer.workers == 4
    assert 4 % fewer.shards == 0
    assert resolved(SEVEN_BILLION, 2, kept, worker_memory_gb=20).shards == 2


def test_on_a_cpu_workers_that_share_a_machine_are_cut_where_copies_do_not_fit():
    whole = resolved(BILLION, 4, device="cpu", worker_memory_gb=64, compile=False)
    cut = resolved(BILLION, 4, device="cpu", worker_memory_gb=16, compile=False)
    assert whole.shards == 1
    assert cut.shards > 1


@pytest.mark.parametrize("footprint", [cost.EAGER, cost.GPU_COMPILED])
def test_each_way_to_divide_takes_less_and_never_less_than_its_share(footprint):
    def taken(**division: Any) -> float:
        way = Division(workers=8, **division)
        return cost.memory(footprint, SEVEN_BILLION, 32_000, 4096, "bf16", "adamw", way)

    whole = taken()
    weights = 4 * parameters(SEVEN_BILLION, 32_000)
    assert taken(shards=8) < taken(shards=4) < taken(shards=2) < whole
    assert taken(shards=8) > 4 * weights / 8
    assert taken(tensor_parallel=2) < whole
    assert taken(shards=8, activation_checkpointing="all") < taken(
        shards=8, activation_checkpointing="every-second"
    )
    assert taken(shards=8, activation_checkpointing="every-second") < taken(shards=8)
    saved = taken(shards=8) - taken(shards=8, offload_optimizer=True)
    assert saved == pytest.approx(2 * weights / 8 if footprint.on_gpu else 0)


def test_the_memory_of_a_worker_is_the_one_that_is_set_else_its_share_of_the_machine(monkeypatch):
    monkeypatch.setattr(Compute, "gpus", lambda self: 0)
    assert Compute(ComputeConfig(worker_memory_gb=3)).worker_memory_gb("pretrain") == 3
    one, four = (Compute(ComputeConfig(training_workers=n)).worker_memory_gb("pretrain") for n in (1, 4))
    assert one is not None
    assert four == one / 4


@pytest.mark.parametrize("asked", [{"tensor_parallel": 2}, {"shards": 2}])
def test_to_divide_a_training_among_too_few_workers_is_refused_with_the_setting_that_makes_more(asked):
    with pytest.raises(
        LayoutError, match=r"1 worker trains.* set compute\.training_workers to a multiple of 2"
    ):
        resolved(BILLION, workers=1, **asked)
    assert resolved(BILLION, workers=2, worker_memory_gb=80, **asked).workers == 2
