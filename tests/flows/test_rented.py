"""Plans for machines that are not this one: hours, disk and cost, and what the shipped configurations say."""

import gzip
import json
import math
import re
import shutil
from pathlib import Path

import pytest

from flows.commands.plans import cost_line
from flows.configuration import load
from flows.disk import disk_of
from flows.planning import plan
from flows.rented import GPUS, UnknownMachineError, rented, utilisation
from flows.web_to_model import WebToModel
from pipeline.resources import WorkersDoNotFitError
from pipeline.training.fit import DoesNotFitError
from pipeline.training.resolve import DeviceLacksError
from tests.road import CONFIG, moinho


def planned(store: Path, machine: str, *settings: str):
    given = [f'compute.store="{store}"', *settings]
    return plan(load(WebToModel, CONFIG, given), tell=pytest.fail, on=rented(machine))


def test_a_machine_is_a_number_and_a_gpu():
    assert (rented("8xh100").count, rented("8xH100").gpu) == (8, GPUS["h100"])
    assert rented("l40s").count == 1
    assert rented("2xa100", 1.25).dollars_per_hour == 1.25
    with pytest.raises(UnknownMachineError, match="did you mean h100"):
        rented("8xh10")
    with pytest.raises(UnknownMachineError, match="rtx4090, l40s"):
        rented("0xh100")


def test_the_share_of_the_peak_grows_with_the_model():
    assert [utilisation(weights) for weights in (1e6, 124e6, 7.6e8, 1.3e9, 7e9)] == [
        0.30,
        0.30,
        0.35,
        0.40,
        0.45,
    ]


def test_twice_the_gpus_take_half_the_time_and_cost_the_same(tmp_path):
    large = ("pretrain.steps=400000000", "pretrain.depth=8")
    four, eight = (planned(tmp_path, f"{count}xh100", *large) for count in (4, 8))
    hours = [found.gpu_seconds / 3600 for found in (four, eight)]
    assert hours[1] == pytest.approx(hours[0] / 2, rel=0.02)
    assert four.dollars == pytest.approx(eight.dollars, rel=0.02)
    pretrain = next(stage for stage in eight.stages if stage.stage == "pretrain")
    assert pretrain.seconds == pytest.approx(pretrain.flops / (8 * 989e12 * 0.30), rel=0.02)


def test_text_is_read_by_the_cpus_that_come_with_the_gpus(tmp_path):
    one, eight = (planned(tmp_path, name) for name in ("h100", "8xh100"))
    assert [stage.stage for stage in one.stages] == [stage.stage for stage in eight.stages]
    clean = [next(each for each in found.stages if each.stage == "clean").seconds for found in (one, eight)]
    assert clean[1] < clean[0]


LARGE = ("pretrain.depth=24", "tokens.row_tokens=2048", "pretrain.batch_tokens=1048576")


def test_a_training_that_a_gpu_of_the_machine_has_no_memory_for_is_refused_with_one_that_it_has(tmp_path):
    many = (*LARGE, "compute.micro_batch_rows=64", 'compute.activation_checkpointing="none"')
    with pytest.raises(DoesNotFitError, match=r"and has 80\.0 GB; .* would do with --set") as refusal:
        planned(tmp_path, "8xh100", *many)
    fewer = (*many, *re.findall(r"--set (\S+)", str(refusal.value)))
    found = planned(tmp_path, "8xh100", *fewer)
    assert 0 < found.gpu_bytes < found.machine_bytes
    with pytest.raises(DoesNotFitError, match=r"has 24\.0 GB"):
        planned(tmp_path, "8xrtx4090", *fewer)


def test_a_training_is_planned_as_the_memory_of_the_rented_gpus_lets_it_be_divided(tmp_path):
    """Up to 65,536 tokens at a time."""
    found = {name: planned(tmp_path, name, *LARGE) for name in ("8xrtx4090", "8xh100", "8xb200")}
    works = {
        name: next(each.work for each in one.stages if each.stage == "pretrain")
        for name, one in found.items()
    }
    rows = [works[name]["micro_batch_rows"] for name in found]
    assert rows[0] < rows[1] < rows[2] <= 32
    assert [works[name]["workers"] for name in found] == [8, 8, 8]
    for name, one in found.items():
        largest = works[name]["micro_batch_rows"] == 32 or one.gpu_bytes > 0.6 * one.machine_bytes
        assert largest, f"{name}: a larger micro-batch would fit"
        told = f"pretrain: 8 workers, .*{works[name]['micro_batch_rows']:g} rows? at a time"
        assert any(re.match(told, line) for line in one.assumptions)


def test_the_memory_that_a_plan_tells_is_what_a_training_is_held_against(tmp_path):
    """A GPU's last 8 % are left free."""
    one_way = (*LARGE, "compute.micro_batch_rows=4", 'compute.activation_checkpointing="none"')
    found = planned(tmp_path, "8xh100", *one_way, "compute.shards=1")
    takes = next(stage.memory_bytes for stage in found.stages if stage.stage == "pretrain")
    needs = takes / 0.92 / 1e9
    fits, lacks = (f"compute.worker_memory_gb={needs * share}" for share in (1.001, 0.999))
    whole = (*one_way, "compute.shards=1", "compute.offload_optimizer=false")
    assert planned(tmp_path, "8xh100", *whole, fits).gpu_bytes
    with pytest.raises(DoesNotFitError):
        planned(tmp_path, "8xh100", *whole, lacks)


def test_a_training_that_cannot_be_divided_is_refused_too(tmp_path):
    seven_billion = ("pretrain.depth=32", "pretrain.width=4096", "pretrain.mlp_width=11008", *LARGE[1:])
    with pytest.raises(DoesNotFitError, match=r"finetune: .* --until conversations"):
        planned(tmp_path, "8xh100", *seven_billion)


def test_fp8_is_refused_for_gpus_that_have_none_and_else_reckoned_as_bf16(tmp_path):
    with pytest.raises(DeviceLacksError, match=r"8xa100 has compute capability 8\.0, and fp8 needs 8\.9"):
        planned(tmp_path, "8xa100", 'pretrain.precision="fp8"')
    found = planned(tmp_path, "8xh100", 'pretrain.precision="fp8"', 'compute.attention="flex"')
    assert any("fp8 is reckoned as bf16" in told for told in found.assumptions)


def test_more_workers_than_the_machine_has_gpus_are_refused(tmp_path):
    with pytest.raises(WorkersDoNotFitError, match="is 16, but 8xh100 has room for 8"):
        planned(tmp_path, "8xh100", "compute.training_workers=16")
    four, range_of_them = (
        planned(tmp_path, "4xh100", *LARGE, *given) for given in ((), ('compute.training_workers="2-8"',))
    )
    assert four.gpu_seconds == range_of_them.gpu_seconds


def test_the_disk_holds_checkpoints_while_a_model_is_trained():
    work = {"parameters": 1e9}
    assert disk_of("pretrain", work, 0, {"optimizer": "adamw"}) == 1e9 * (3 * 12 + 2 * 4)
    assert disk_of("pretrain", work, 0, {"optimizer": "muon"}) == 1e9 * (3 * 8 + 2 * 4)
    assert disk_of("tokens", {"tokens": 1e9}, 100_000, {}) > disk_of("tokens", {"tokens": 1e9}, 32_000, {})
    assert disk_of("vocabulary", {"bytes": 1e9}, 0, {}) == 0


def test_the_command_tells_hours_disk_and_cost(tmp_path):
    told = moinho("plan", str(CONFIG), "--machine", "8xh100", "--price", "2", store=tmp_path / "store")
    assert told.returncode == 0, told.stderr
    assert "on 8xh100:" in told.stdout
    assert "$2.00 for an hour" in told.stdout
    assert "of disk" in told.stdout
    as_json = moinho("plan", str(CONFIG), "--machine", "8xh100", "--json", store=tmp_path / "store")
    total = json.loads(as_json.stdout)["total"]
    assert total["dollars"] == pytest.approx(total["gpu_seconds"] / 3600 * 8 * GPUS["h100"].dollars_per_hour)
    assert math.isfinite(total["disk_bytes"])
    alone = moinho("plan", str(CONFIG), "--price", "2", store=tmp_path / "store")
    assert alone.returncode == 2
    assert "--machine" in alone.stderr
    wrong = moinho("plan", str(CONFIG), "--machine", "8xh10", store=tmp_path / "store")
    assert wrong.returncode == 2
    assert "did you mean h100" in wrong.stderr


DATA_SHEETS = {"gpt2-124m": (), "pt-1b-8gpu": ("crawl.contact=you@example.org",)}


@pytest.mark.parametrize("name", DATA_SHEETS)
def test_what_a_configuration_says_of_its_hours_disk_and_cost_is_what_a_plan_says(
    name, tmp_path, monkeypatch
):
    """In a working folder that has what the file says it needs."""
    configs = CONFIG.parents[1] / "configs"
    shutil.copytree(configs, tmp_path / "configs")
    with gzip.open(tmp_path / "warc.paths.gz", "wt") as paths:
        paths.writelines(f"crawl-data/{number:05}.warc.gz\n" for number in range(1000))
    monkeypatch.chdir(tmp_path)
    given = [f'compute.store="{tmp_path}/store"', *DATA_SHEETS[name]]
    config = load(WebToModel, Path(f"configs/{name}.toml"), given)
    found = plan(config, tell=pytest.fail, on=rented("8xh100"))
    comment = (configs / f"{name}.toml").read_text().partition("\n\n")[0].replace("\n#", " ")
    assert cost_line(found) in " ".join(comment.split())
    assert "--machine 8xh100" in comment
    work = {stage.stage: stage.work for stage in found.stages}
    assert work["pretrain"]["tokens"] / work["tokens"]["train.tokens"] < 4
    weights = work["pretrain"]["parameters"]
    assert weights == pytest.approx({"gpt2-124m": 124e6, "pt-1b-8gpu": 1e9}[name], rel=0.06)
