"""Two texts mixed in a real run: the shares come out as asked, and a kill changes no row and no bit."""

import json
import pydoc
from collections import Counter
from pathlib import Path

import pytest

from flows.references import find_artifact
from pipeline.store import Store
from pipeline.training.steps import STEPS, Steps
from tests.road import Run, moinho

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1200)]

MODULES = {
    "network": ("argparse", "asyncio", "email", "http", "logging", "smtplib", "socket", "ssl", "unittest"),
    "numbers": ("collections", "decimal", "fractions", "heapq", "itertools", "random", "statistics"),
}
STEPS_BEFORE = 100
"""Of 120: from then on only numbers are learned."""
CONFIG = """
name = "mixed"
[[sources]]
name = "network"
path = "{folder}/network/*.txt"
kind = "documentation"
[[sources]]
name = "numbers"
path = "{folder}/numbers/*.txt"
kind = "documentation"
[clean]
languages = ["en"]
[hold_out]
document_bytes = 5_000
minimum_bytes = 20_000
[vocabulary]
pieces = 1024
[tokens]
row_tokens = 128
texts = [{{ name = "numbers", sources = ["numbers"] }}]
[pretrain]
depth = 1
steps = 120
batch_tokens = 2048
[pretrain.mixture]
weights = {{ rest = 0.7, numbers = 0.3 }}
stages = [{{ begin = 0.8333333333, weights = {{ numbers = 1 }} }}]
[compute]
compile = false
checkpoint_seconds = 2
"""


def steps_of(store: Path) -> Steps:
    base = find_artifact(Store(str(store)), "mixed/base")
    return Steps.model_validate_json(base.path(STEPS).read_bytes())


def weights_of(store: Path) -> dict[str, str]:
    """Digests of the model's files that hold weights."""
    files = find_artifact(Store(str(store)), "mixed/base").record.files
    return {name: file.sha256 for name, file in files.items() if name.endswith(".safetensors")}


def test_a_killed_training_on_a_mixture_keeps_its_shares_its_rows_and_its_bits(tmp_path: Path) -> None:
    for text, modules in MODULES.items():
        (tmp_path / text).mkdir()
        for module in modules:
            (tmp_path / text / f"{module}.txt").write_text(pydoc.plain(pydoc.render_doc(module)))
    config = tmp_path / "mixed.toml"
    config.write_text(CONFIG.format(folder=tmp_path))

    whole = Run.start(tmp_path / "whole", config=config, until="pretrain")
    assert whole.wait(600) == 0, whole.text()
    killed = Run.start(tmp_path / "killed", config=config, until="pretrain")
    killed.wait_until("/120 steps")
    killed.kill()
    rest = Run.start(tmp_path / "killed", config=config, until="pretrain")
    assert rest.wait(600) == 0, rest.text()

    steps = steps_of(tmp_path / "whole")
    assert steps == steps_of(tmp_path / "killed")
    assert weights_of(tmp_path / "whole") == weights_of(tmp_path / "killed") != {}
    drawn = [Counter(steps.text_of(row) for row in steps.rows(step)) for step in range(120)]
    before, after = sum(drawn[:STEPS_BEFORE], Counter()), sum(drawn[STEPS_BEFORE:], Counter())
    assert before["numbers"] / before.total() == pytest.approx(0.3, abs=0.01)
    assert set(after) == {"numbers"}
    told = moinho("trace", "mixed", "--step", "110", "--json", store=tmp_path / "killed")
    assert told.returncode == 0, told.stderr
    urls = {piece["url"] for piece in json.loads(told.stdout)["pieces"]}
    assert {url.partition("/")[0] for url in urls} == {"numbers"}
