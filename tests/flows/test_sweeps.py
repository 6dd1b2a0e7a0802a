"""`moinho sweep`: how axes are written, what is told before and after."""

import io
import json

import pytest
from rich.console import Console

from flows import cli
from flows.commands.sweeps import AxisWordError, _setting
from flows.configuration import ConfigurationError, load
from flows.sweeps import tell_plan, tell_sweep
from flows.web_to_model import WebToModel
from pipeline.config import Config
from pipeline.store import Made, Store
from pipeline.training import findings, sweep_plots
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.sweep import Sweep
from tests.road import CONFIG
from tests.training.test_sweep_plan import synthetic


@pytest.mark.parametrize(
    ("axis", "setting"),
    [
        ("depth=1,2,4", "sweep.axes.depth=[1, 2, 4]"),
        ("learning_rate=[0.01, 2e-2]", "sweep.axes.learning_rate=[0.01, 2e-2]"),
        ("schedule=wsd,cosine", 'sweep.axes.schedule=["wsd", "cosine"]'),
        ("tied_embeddings=true,false", "sweep.axes.tied_embeddings=[true, false]"),
    ],
)
def test_an_axis_is_written_without_quotes_and_brackets(axis, setting):
    assert _setting(axis) == setting
    loaded = load(WebToModel, CONFIG, [setting])
    assert list(loaded.sweep.axes) == [axis.split("=")[0]]


@pytest.mark.parametrize("axis", ["depth", "=1", "depth=", "depth=1,,2"])
def test_an_axis_that_has_no_values_is_refused_with_an_example(axis):
    with pytest.raises(AxisWordError, match="such as --axis depth=1,2,4"):
        _setting(axis)


def test_an_axis_that_is_no_setting_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError, match=r"dept is no setting of .* did you mean depth\?"):
        load(WebToModel, CONFIG, [_setting("dept=1,2")])


def told_of(tell, *given):
    written = io.StringIO()
    tell(*given, Console(file=written, width=200))
    return written.getvalue()


def test_before_it_starts_trials_and_work_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MOINHO_CACHE", str(tmp_path / "cache"))
    loaded = load(
        WebToModel, CONFIG, [f'compute.store="{tmp_path}"', _setting("depth=1,2"), _setting("seed=0,1,2")]
    )
    written = io.StringIO()
    tell_plan(loaded, Console(file=written, width=200), measure=False)
    told = written.getvalue()
    assert "6 trials, after" in told
    assert [line.replace("│", "").split()[:2] for line in told.splitlines() if "%" in line] == [
        [depth, seed] for depth in "12" for seed in "012"
    ]
    assert "pretrain.steps = 60" in told
    assert "--set pretrain.steps=" in told
    assert "FLOP, time not known: `--plan` measures this machine" in told


class Tried(Config):
    pass


def made_of(store, rows):
    def build(attempt):
        found = findings.findings(rows, PretrainConfig(depth=16))
        attempt.path("sweep.json").write_text(json.dumps({"trials": rows, "findings": found}))
        names = ["sweep.json", *sweep_plots.draw(rows, found, attempt.path("."))]
        return Made({name: attempt.publish(attempt.path(name)) for name in names})

    return store.make(Sweep, Tried(), {}, build)


def test_at_the_end_the_best_rates_the_law_the_pictures_and_what_to_set_are_told(tmp_path):
    rows = [row for row in synthetic() if row["point"]["seed"] == 0]
    failed = {**rows[0], "bits_per_byte": None, "fault": "the loss is nan", "seconds": 1.0}
    told = told_of(tell_sweep, made_of(Store(str(tmp_path)), [*rows, failed]), "toy")
    assert "diverged" in told
    assert "depth=4: best learning rate" in told
    assert "from depth 1 to 2: the rule foretells" in told
    assert "scaling law of 4 best trials: L = " in told
    assert "loss-against-compute.png" in told
    assert "--set pretrain.learning_rate=" in told


def test_a_sweep_without_a_trial_that_ended_says_so(tmp_path):
    rows = [{**row, "bits_per_byte": None, "fault": "infinite"} for row in synthetic()[:2]]
    assert "no trial came to an end" in told_of(tell_sweep, made_of(Store(str(tmp_path)), rows), "toy")


def test_help_teaches_axes_and_says_what_comes_out(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.app(["sweep", "--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("--axis", "scaling law", "learning_rate_factor", "[sweep.axes]", "Example: moinho sweep"):
        assert word in told


def test_a_law_of_two_points_claims_no_band(tmp_path):
    rows = [row for row in synthetic() if row["point"]["seed"] == 0 and row["depth"] in (1, 2)]
    told = told_of(tell_sweep, made_of(Store(str(tmp_path)), rows), "toy")
    assert "scaling law of 2 best trials: L = " in told
    assert told.count("too few points to say how far that may be off") == 2
    assert "without one of the points" not in told
