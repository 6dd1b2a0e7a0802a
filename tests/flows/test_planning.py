"""What `moinho plan` tells before anything runs, on a machine whose calibration is made up."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import flows.calibration
from flows.calibration import Calibration, NotMeasuredError, _measured_apart, calibration, kept_at, machine
from flows.commands.plans import _show
from flows.configuration import load
from flows.drift import differences
from flows.planning import Plan, _to_be_made_above, plan
from flows.rates import seconds_of
from flows.web_to_model import WebToModel
from pipeline.config import Config
from pipeline.corpus.clean import KEPT_BYTES, KEPT_PAGES
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import Pages
from pipeline.corpus.personal.matching import PLACEHOLDERS
from pipeline.resources import WorkersDoNotFitError
from pipeline.store import Artifact, Made, Record, Store
from pipeline.store.records import InputOf
from pipeline.training.resolve import DeviceLacksError
from tests.calibration import keep_calibration, made_up
from tests.road import CONFIG, moinho

QUICKSTART = CONFIG.parents[1] / "configs" / "quickstart.toml"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calibration:
    """A made-up calibration in a cache folder of this test's own."""
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    return keep_calibration()


def planned(store: Path, *settings: str, config: Path = CONFIG, until: str | None = None) -> Plan:
    given = [f'compute.store="{store}"', *settings]
    return plan(load(WebToModel, config, given), tell=lambda told: pytest.fail(told), until=until)


def by_stage(found: Plan) -> dict[str, Any]:
    return {stage.stage: stage for stage in found.stages}


def test_a_plan_of_sources_alone_has_no_crawl(tmp_path):
    (tmp_path / "notes").mkdir()
    for number in range(3):
        (tmp_path / f"notes/{number}.txt").write_text("The mill grinds. " * 100)
    inside = f'{{name = "notes", path = "{tmp_path}/notes", kind = "book"}}'
    found = planned(tmp_path / "store", f"sources=[{inside}]")
    assert [stage.stage for stage in found.stages][:3] == ["sources", "extract", "clean"]
    assert by_stage(found)["extract"].work["pages"] == 3
    assert by_stage(found)["extract"].bytes == 3 * 1_700
    cleaning = by_stage(found)["clean"].work
    assert cleaning["kept"] == pytest.approx(3 * KEPT_PAGES["book"])
    assert (
        cleaning["kept-bytes"] == cleaning["private-bytes"] == pytest.approx(3 * 1_700 * KEPT_BYTES["book"])
    )
    kinds = [f"clean.privacy.{kind}=false" for kind in PLACEHOLDERS]
    without = by_stage(planned(tmp_path / "store", f"sources=[{inside}]", *kinds))["clean"]
    assert without.work["private-bytes"] == 0
    assert without.seconds < by_stage(found)["clean"].seconds
    seeds = 'crawl.seeds=["https://www.example.org/"]'
    both = planned(tmp_path / "store", f"sources=[{inside}]", seeds, "crawl.contact=me@example.org")
    assert [stage.stage for stage in both.stages][:3] == ["sources", "crawl", "extract"]
    assert not (tmp_path / "store").exists()


def test_with_an_empty_store_every_stage_has_a_time_and_memory_and_nothing_is_made(tmp_path):
    found = planned(tmp_path / "store")
    assert len(found.stages) == 12
    assert found.to_be_made == found.stages
    assert all(stage.seconds > 0 and stage.memory_bytes > 0 for stage in found.stages)
    assert found.seconds == pytest.approx(sum(stage.seconds for stage in found.stages))
    assert not (tmp_path / "store").exists()


def test_the_size_of_a_site_is_told_from_its_sources_without_importing_them(tmp_path):
    code = (
        "import sys; from pathlib import Path; from flows.planning import plan; "
        "from flows.configuration import load; from flows.web_to_model import WebToModel; "
        f"found = plan(load(WebToModel, Path({str(QUICKSTART)!r}), ['compute.store={tmp_path}/no']), print); "
        "print(found.stages[0].work['pages'], *{'sqlalchemy', 'scipy', 'sympy', 'torch'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages, *imported = told.stdout.split()
    assert 350 < int(pages) < 700  # 504 were rendered with the versions of today
    assert imported == []


def test_what_is_made_already_takes_the_place_of_guesses(tmp_path):
    store = tmp_path / "store"
    key = by_stage(planned(store))["hold-out"].key
    counts = {"train": 50, "held-out": 5, "train.bytes": 2_000_000, "held-out.bytes": 9_000}
    home = store / "hold-out" / key
    home.mkdir(parents=True)
    corpus = record(store, stage="hold-out", key=key, counts=counts)
    (home / "artifact.json").write_text(corpus.model_dump_json())
    stages = by_stage(planned(store))
    assert stages["hold-out"].in_store
    assert stages["vocabulary"].bytes == 2_000_000
    assert stages["tokens"].bytes == 2_009_000


def test_head_and_attention_are_counted_before_there_is_a_vocabulary(tmp_path):
    small, large = (
        by_stage(planned(tmp_path / "store", *settings))["pretrain"].flops
        for settings in ((), ("vocabulary.pieces=2048", "tokens.row_tokens=256"))
    )
    trained, width, depth = 60 * 2048, 128, 2
    assert large - small == pytest.approx(6 * trained * width * (1024 + depth * 128))


def test_pages_of_the_web_are_bounded_by_politeness_and_that_is_said(tmp_path):
    found = planned(
        tmp_path / "store",
        'crawl.seeds=["https://a.example/", "https://b.example/"]',
        "crawl.contact=me@a.example",
        "crawl.max_pages=500",
    )
    assert by_stage(found)["crawl"].seconds > 250
    assert any("500" in told and "2 hosts" in told for told in found.assumptions)


def test_archives_take_the_place_of_a_crawl_and_are_reckoned_by_their_size(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"x" * 1_000_000)
    archives = f'ingest.archives=["{path}", "https://data.example/b.warc.gz"]'
    found = planned(tmp_path / "store", archives)
    stages = by_stage(found)
    assert not {"crawl", "site"} & set(stages)
    assert stages["ingest"].bytes == pytest.approx(4.5 * (1e6 + 1e9))
    assert stages["ingest"].seconds > 10
    (told,) = (told for told in found.assumptions if told.startswith("ingest:"))
    assert "Common Crawl's archives give far less" in told


def test_a_model_of_more_layers_takes_more_of_everything(tmp_path):
    less, more = (
        by_stage(planned(tmp_path / "store", f"pretrain.depth={depth}"))["pretrain"] for depth in (2, 4)
    )
    assert more.seconds > less.seconds
    assert more.flops > 3 * less.flops
    assert more.memory_bytes > less.memory_bytes


def test_of_a_range_of_workers_a_plan_takes_as_many_as_there_is_room_for(tmp_path):
    cpus = len(os.sched_getaffinity(0))
    alone, most = (
        by_stage(planned(tmp_path / "store", f"compute.training_workers={given}"))["pretrain"]
        for given in (cpus, f'"1-{cpus + 7}"')
    )
    assert alone.work == most.work
    with pytest.raises(WorkersDoNotFitError, match=f"this machine has room for {cpus} "):
        planned(tmp_path / "store", f"compute.training_workers={cpus + 1}")


@pytest.mark.skipif(bool(machine()["gpus"]), reason="this machine has a GPU")
@pytest.mark.parametrize(
    "asked", ['pretrain.precision="fp8"', 'compute.attention="flex"', "compute.fused_loss=true"]
)
def test_what_a_training_here_could_not_do_is_refused_before_anything_is_made(asked, tmp_path):
    with pytest.raises(DeviceLacksError, match=asked.partition("=")[0]) as refusal:
        planned(tmp_path / "store", asked)
    assert refusal.value.exit_code == 2
    planned(tmp_path / "store", asked, 'compute.ray_address="10.0.0.1:6379"')  # may have GPUs


def test_ray_starts_once_with_the_first_stage_that_is_made(tmp_path, kept):
    first, second, *_ = planned(tmp_path / "store").stages
    each = ((first, kept.machine["cpus"]), (second, 1))  # one process crawls the site
    alone = [seconds_of(stage.stage, stage.work, kept, workers) for stage, workers in each]
    assert [first.seconds, second.seconds] == pytest.approx([alone[0] + kept.starts["ray"], alone[1]])


def test_a_calibration_is_made_once_kept_and_redone_when_asked(monkeypatch):
    made: list[float] = []
    told: list[str] = []

    def measured(here: dict[str, Any], tell: Callable[[str], None]) -> Calibration:
        made.append(1.0)
        return made_up(here)

    monkeypatch.setattr(flows.calibration, "_calibrate", measured)
    here = machine()
    assert calibration(here, told.append) == made_up(here)
    assert (made, told) == ([], [])
    calibration(here, told.append, again=True)
    other = here | {"versions": here["versions"] | {"torch": "3.0"}}
    assert calibration(other, told.append) == calibration(other, told.append)
    assert len(made) == len(told) == 2


def test_a_kept_calibration_that_cannot_be_read_is_made_anew(monkeypatch):
    here = machine()
    monkeypatch.setattr(flows.calibration, "_calibrate", lambda here, tell: made_up(here))
    for path in flows.calibration.cache_folder().rglob("*.json"):
        path.write_text("{")
    assert calibration(here, lambda told: None) == made_up(here)


@pytest.mark.parametrize("spoilt", [{"load": 1.4}, {"spread": 2.5}])
def test_a_calibration_under_load_is_used_and_not_kept_and_that_is_said(
    spoilt: dict[str, float], monkeypatch: pytest.MonkeyPatch, kept: Calibration
) -> None:
    told: list[str] = []
    loaded = kept.model_copy(update=spoilt)
    monkeypatch.setattr(flows.calibration, "_calibrate", lambda here, tell: loaded)
    here = machine()
    assert calibration(here, told.append, again=True) == loaded
    assert "not kept" in told[-1]
    assert calibration(here, told.append) == kept, "the one before stays"
    assert loaded.busy


@pytest.mark.parametrize(("load", "again"), [(0.0, True), (0.6, False)])
def test_what_was_measured_beside_other_work_is_measured_anew_on_an_idle_machine(
    load: float, again: bool, monkeypatch: pytest.MonkeyPatch, kept: Calibration
) -> None:
    here, idle = machine(), kept
    beside_work = kept.model_copy(update={"load": 0.5})
    kept_at(here).write_text(beside_work.model_dump_json())
    monkeypatch.setattr(flows.calibration, "_calibrate", lambda here, tell: idle)
    monkeypatch.setattr(flows.calibration, "_load", lambda here: load)
    assert calibration(here, lambda told: None) == (idle if again else beside_work)


class Nothing(Config):
    pass


class Grain(Artifact):
    stage, role = "grind", "grain"


def record(store: Path, **changes: Any) -> Record:
    made = Store(str(store)).make(Grain, Nothing(), {}, lambda attempt: Made(files={})).record
    return made.model_copy(update=changes)


def test_another_commit_and_other_versions_are_told_a_line_for_each_field(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.drift.commit", lambda: "2222")
    today = record(tmp_path / "store", commit="2222")
    old = today.model_copy(
        update={"commit": "1111", "versions": today.versions | {"torch": "1.0", "trl": "0.1", "gone": "5"}}
    )
    older = old.model_copy(update={"stage": "crawl", "versions": old.versions | {"torch": "0.9"}})
    assert [difference.line() for difference in differences([old, older, today])] == [
        "commit: now 2222; 1111 made grind, crawl",
        f"torch: now {today.versions['torch']}; 1.0 made grind; 0.9 made crawl",
        f"trl: now {today.versions['trl']}; 0.1 made grind, crawl",
        "gone: now none; 5 made grind, crawl",
    ]


def test_changes_that_were_never_committed_equal_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.drift.commit", lambda: "2222+")
    (difference,) = differences([record(tmp_path / "store", commit="2222+")])
    assert difference.line() == "commit: now 2222+; 2222+ made grind"


def test_json_has_raw_numbers_with_their_units_in_their_names(tmp_path):
    told = moinho("plan", str(CONFIG), "--json", store=tmp_path / "store")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    stage = next(stage for stage in found["stages"] if stage["stage"] == "pretrain")
    assert stage["tokens"] == stage["work"]["steps"] * 2048 == 60 * 2048
    assert 1e11 < stage["flops"] < 1e12
    assert 1e8 < stage["memory_bytes"] < 1e10
    assert found["total"]["seconds"] == pytest.approx(sum(stage["seconds"] for stage in found["stages"]))
    assert set(found) == {"stages", "total", "differences", "assumptions", "rates", "machine_bytes", "rented"}
    assert found["rented"] is None
    assert found["total"]["disk_bytes"] == pytest.approx(sum(each["disk_bytes"] for each in found["stages"]))


def test_the_table_is_quick_once_calibrated_and_sums_up(tmp_path):
    told = moinho("plan", str(CONFIG), store=tmp_path / "store")
    assert told.returncode == 0, told.stderr
    assert "12 of 12 stages to be made" in told.stdout
    assert told.stdout.count("to be made") == 13
    assert re.search(r"a process of at most \S+ [MG]B \(this machine has \S+ GB\)", told.stdout)


def test_a_calibration_that_was_kept_while_the_machine_was_busy_is_made_anew(monkeypatch, kept):
    here = machine()
    kept_at(here).write_text(kept.model_copy(update={"load": 6.0}).model_dump_json())
    monkeypatch.setattr(flows.calibration, "_calibrate", lambda here, tell: made_up(here))
    assert calibration(here, lambda told: None) == made_up(here)


@pytest.mark.parametrize(
    ("spread", "slower"), [(1.0, ""), (1.4, ", the same work mostly took 1.4 times as long")]
)
def test_other_work_is_told_with_how_much_slower_it_made_the_machine(spread, slower, kept):
    busy = kept.model_copy(update={"load": 0.6, "spread": spread})
    assert busy.found() == f"0.6 processes for each CPU{slower}"


SLEEPS = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('x', file=sys.stderr); "


def test_measuring_that_takes_too_long_is_given_up_with_all_it_started():
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(NotMeasuredError, match="given up after"):
        _measured_apart([sys.executable, "-c", f"{SLEEPS} time.sleep(60)"], 2)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_why_measuring_failed_is_told_in_its_last_line():
    with pytest.raises(NotMeasuredError, match="could not be measured: no room"):
        _measured_apart(
            [sys.executable, "-c", "import sys; print('x', file=sys.stderr); sys.exit('no room')"], 60
        )


@pytest.mark.parametrize(
    ("error", "told"),
    [(NotMeasuredError("given up"), "given up;"), (KeyboardInterrupt(), "stopped; nothing")],
)
def test_without_a_calibration_a_plan_has_work_and_no_times(error, told, tmp_path, monkeypatch, capsys):
    def fail(here: dict[str, Any], tell: Callable[[str], None]) -> Calibration:
        raise error

    monkeypatch.setattr(flows.calibration, "_calibrate", fail)
    lines: list[str] = []
    found = plan(load(WebToModel, CONFIG, [f'compute.store="{tmp_path}"']), lines.append, recalibrate=True)
    assert lines[-1].startswith(told)
    assert len(found.to_be_made) == 12
    assert by_stage(found)["pretrain"].flops > 0
    assert (found.rates, found.seconds, found.memory_bytes) == (None, None, None)
    _show(found)
    assert "12 of 12 stages to be made: time not known" in " ".join(capsys.readouterr().out.split())


def test_what_was_made_from_something_discarded_is_reused_only_if_that_comes_out_the_same(tmp_path):
    store = Store(str(tmp_path))
    first, second, third = (Pages(store.storage, key) for key in ("gone", "made-from-it", "made-from-that"))
    own = Corpus(store.storage, "own")
    for artifact, given in ((second, first), (third, second), (own, None)):
        inputs = {"pages": InputOf(stage=given.stage, key=given.key, digest="")} if given else {}
        artifact._record = record(tmp_path, stage=artifact.stage, key=artifact.key, inputs=inputs)
    assert _to_be_made_above([first, second, own, third]) == dict.fromkeys(
        (first.base, second.base, third.base), "crawl"
    )


def test_a_text_that_would_be_read_very_often_is_told_with_fewer_steps(tmp_path):
    usual, often = (
        [
            told
            for told in planned(tmp_path / "store", f"pretrain.steps={steps}").assumptions
            if "over" in told
        ]
        for steps in (20, 200_000)
    )
    assert usual == []
    assert re.search(r"read [\d,]+ times over; .* --set pretrain\.steps=\d+$", often[0])
