import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.figures import figures
from pipeline.compute import Compute
from pipeline.corpus.classifier import ClassifierConfig, ExamplesError, train_classifier
from pipeline.corpus.clean import CleanConfig, clean
from pipeline.corpus.scoring import scorer
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.samples import ENGLISH
from tests.corpus.test_clean import raw_of, shuffled

SALES = (
    "Buy now and save money with the best offers that you have ever seen in our online shop today.",
    "Click here to win a prize, and do not miss the discount of the week with free shipping for all.",
    "Our customers love the cheap products that we sell, and the prices are the lowest to be found.",
)


@pytest.fixture
def examples(tmp_path: Path) -> tuple[str, str]:
    """A folder of good texts, a file of bad ones."""
    good = tmp_path / "good"
    good.mkdir()
    for number in range(40):
        (good / f"{number}.txt").write_text(shuffled(ENGLISH, number))
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps({"text": shuffled(SALES, number)}) + "\n" for number in range(40)))
    return str(good), str(bad)


def config_of(examples: tuple[str, str], **fields: object) -> ClassifierConfig:
    return ClassifierConfig.model_validate({"good": [examples[0]], "bad": [examples[1]], **fields})


def test_there_is_no_classifier_unless_examples_are_named(store: Store, here: Compute) -> None:
    assert train_classifier(store, ClassifierConfig(), here) is None
    with pytest.raises(
        ValidationError, match=r"classifier.good names examples and classifier.bad names none"
    ):
        ClassifierConfig(good=("kept:quickstart/documents",))


def test_good_scores_above_bad_and_the_figures_say_so(
    store: Store, here: Compute, examples: tuple[str, str]
) -> None:
    made = train_classifier(store, config_of(examples), here)
    assert made is not None
    score = scorer(made.path("model.safetensors"))
    assert score(shuffled(ENGLISH, 99)) > 0.5 > score(shuffled(SALES, 99))
    assert made.counts()["good"] == made.counts()["bad"] == 40
    assert json.loads(made.path("figures.json").read_text())["roc_auc"] == 1
    assert [figure.name for figure in figures(made.record) if figure.meaning] == ["accuracy", "roc_auc"]


def test_the_same_examples_give_the_same_classifier_wherever_they_lie(
    store: Store, here: Compute, examples: tuple[str, str], tmp_path: Path
) -> None:
    first = train_classifier(store, config_of(examples), here)
    moved = (tmp_path / "good").rename(tmp_path / "elsewhere")
    again = train_classifier(store, config_of((str(moved), examples[1])), here)
    other = train_classifier(store, config_of((str(moved), examples[1]), features=2048), here)
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.key == again.key != other.key


def test_documents_carry_their_quality_and_fall_below_a_threshold(
    store: Store, here: Compute, examples: tuple[str, str]
) -> None:
    pages = [("http://x/good", shuffled(ENGLISH, 99)), ("http://x/bad", shuffled(SALES * 2, 99))]
    raw = raw_of(store, pages, 0, 1, "raw")
    classifier = train_classifier(store, config_of(examples), here)
    all_kept = clean(store, raw, CleanConfig(), here, classifier)
    assert {row["url"]: row["quality"] > 0.5 for row in read_rows(all_kept.paths("kept/"))} == {
        "http://x/good": True,
        "http://x/bad": False,
    }
    made = clean(store, raw, CleanConfig(least_quality=0.5), here, classifier)
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["url"], dropped["reason"], dropped["threshold"]) == ("http://x/bad", "low-quality", 0.5)
    assert {row["quality"] for row in read_rows(clean(store, raw, CleanConfig(), here).paths("kept/"))} == {
        None
    }


def test_examples_may_be_what_another_run_kept_and_dropped(store: Store, here: Compute) -> None:
    texts = [shuffled(ENGLISH, number) for number in range(30)]
    bad = [" ".join(shuffled(SALES, number).split()[:20]) for number in range(30)]
    pages = [(f"http://x/{number}", text) for number, text in enumerate(texts + bad)]
    store.name("first/documents", clean(store, raw_of(store, pages, 0, 1, "raw"), CleanConfig(), here))
    config = ClassifierConfig(good=("kept:first/documents",), bad=("dropped:first/documents",))
    made = train_classifier(store, config, here)
    assert made is not None
    assert (made.counts()["good"], made.counts()["bad"]) == (30, 30)


@pytest.mark.parametrize(
    ("good", "message"),
    [
        ("kept:nobody/documents", r"kept:nobody/documents: the store has no cleaned documents"),
        ("nowhere", r"nowhere: no file of examples; there may be .parquet"),
        ("few.txt", r"classifier.good has 1 examples with text, and 20 are needed"),
        ("torn.jsonl", r"torn.jsonl, line 2: no JSON object with a `text`"),
    ],
)
def test_faulty_examples_are_told(
    store: Store,
    here: Compute,
    examples: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    good: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.txt").write_text("one")
    Path("torn.jsonl").write_text('{"text": "one"}\n{"te\n')
    with pytest.raises(ExamplesError, match=message):
        train_classifier(store, config_of((good, examples[1])), here)
