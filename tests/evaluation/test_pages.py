import re
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from selenium.webdriver.common.by import By

from pipeline.evaluation.compare import CompareConfig, Judgement, QuestionsDifferError, require_alike
from pipeline.evaluation.compare_page import comparison_page
from pipeline.evaluation.compare_report import put_together
from pipeline.evaluation.domains import OTHER, SHOWN, domains
from pipeline.evaluation.figures import better, figure_of, figures, shown
from pipeline.evaluation.pages import model_page
from tests.browser import browser
from tests.evaluation.made_up import QUESTIONS, assessed, content, estimate

CONFIG = CompareConfig(reference="chat", shown_answers=2)
GOOD = [1.0] * 45 + [0.0] * 15
EVEN = [0.5] * QUESTIONS
MEANING = "1 if the thing is named."


def test_a_page_loads_nothing_and_has_no_script() -> None:
    pages = [model_page(content("chat")), comparison_page(compared())]
    for page in pages:
        tree = lxml.html.fromstring(page)
        assert not tree.xpath("//script | //link | //img | //iframe")
        assert not re.search(r"""(src|href)=["'](?!#)|url\((?!#)|@import""", page)
        assert tree.xpath("//meta[@name='viewport']")
        assert "prefers-color-scheme: dark" in page


def test_what_models_wrote_cannot_become_markup() -> None:
    page = model_page(content("chat"))
    assert "the &lt;b&gt;water" in page
    assert "&lt;s&gt;transaction" in page


def test_every_figure_stands_on_the_page_with_its_baseline_and_its_meaning() -> None:
    given = content("chat")
    page = " ".join(lxml.html.fromstring(model_page(given)).text_content().split())
    for figure in figures(given):
        assert figure.label in page
        assert figure.kind.meaning[1:] in page
        assert shown(figure.estimate["value"], figure.kind.unit) in page
    assert "Questions about a text (en): 1.5 of 4 examples, 3 of 60 questions cut" in page
    assert len(figures(given)) == 6 + 3 + 3 + 7 + 16 + 5
    assert "leans towards stereotypes" in page


def test_a_figure_is_better_only_where_the_intervals_are_apart() -> None:
    name = "likelihood.language.en"
    low, high, near = (figure_of(name, estimate(value)) for value in (1.4, 1.5, 1.42))
    assert low is not None
    assert high is not None
    assert near is not None
    assert better(low, high) is True
    assert better(high, low) is False
    assert better(low, near) is None
    gaps = [figure_of("bias.en.gender.gap", estimate(value, 0.1, 0.0)) for value in (-0.2, 0.9)]
    assert gaps[0] is not None
    assert gaps[1] is not None
    assert better(gaps[0], gaps[1]) is True
    opposite = [figure_of("bias.en.gender.gap", estimate(value, 0.1, 0.0)) for value in (-0.5, 0.51)]
    assert opposite[0] is not None
    assert opposite[1] is not None
    assert better(opposite[0], opposite[1]) is None


def compared(scores: dict[str, list[float]] | None = None, **more: float) -> Any:
    models = [assessed("base", 1.45, 0.1), assessed("chat"), assessed("dpo", **more)]
    judged = {} if scores is None else {"names_the_thing": {"base": EVEN, "chat": EVEN} | scores}
    found = {name: Judgement(by_role, meaning=MEANING) for name, by_role in judged.items()}
    return put_together(models, found, CONFIG)


def test_the_first_sentence_says_which_model_is_better_and_why() -> None:
    first, *rest = compared({"base": [0.0] * QUESTIONS, "dpo": GOOD}, bits=1.53)["verdict"]
    assert first.startswith(
        "By the judge names_the_thing, dpo answers best: its answer is preferred to chat's in 75 %"
    )
    assert f"of {QUESTIONS} questions" in first
    text = " ".join(rest)
    assert "Clearly behind dpo, by how often their answers are preferred to its: base 12 %" in text
    assert "compared with chat's (fewer are better): base -3.3 % (-3.3 % to -3.3 %), dpo +2.0 %" in text
    assert (
        "At none of 3 scores of tasks (1 task, each with 0, 1 and 4 examples) is any of them clearly" in text
    )


def test_which_of_several_good_models_is_best_is_left_open_where_it_cannot_be_told() -> None:
    nearly = [1.0] * 43 + [0.0] * 17
    first, *rest = compared({"base": nearly, "dpo": GOOD})["verdict"]
    assert "dpo and base answer better than chat; which of them does so best cannot be told" in first
    assert "preferred to chat's answers: dpo 75 %" in first
    assert ", base 72 %" in first
    assert rest[0].startswith("Against each other: dpo's answers are preferred to base's 52 %")
    assert "behind" not in " ".join(rest)
    page = lxml.html.fromstring(comparison_page(compared({"base": nearly, "dpo": GOOD}))).text_content()
    assert "Against each other, judged by names_the_thing" in page


def test_models_are_told_apart_question_by_question_where_their_rates_alone_overlap() -> None:
    most = [1.0] * 45 + [0.0] * 15
    more = [1.0] * 53 + [0.0] * 7
    first, *rest = compared({"base": most, "dpo": more})["verdict"]
    assert "dpo answers best" in first
    assert "preferred to its: base 43 %" in " ".join(rest)


def test_a_second_judge_is_heard_too() -> None:
    judged = {
        "names_the_thing": Judgement({"chat": EVEN, "dpo": GOOD}, meaning=MEANING),
        "reward model": Judgement({"chat": EVEN, "dpo": [1.0] * QUESTIONS}, pleased=["dpo"]),
    }
    models = [assessed("chat"), assessed("dpo")]
    found = put_together(models, judged, CONFIG)
    text = " ".join(found["verdict"])
    assert "The judge reward model prefers to chat's answers: dpo 100 %" in text
    assert "The judge reward model is what dpo learned to please, so it says little of their work." in text
    page = lxml.html.fromstring(comparison_page(found)).text_content()
    assert "The judge's score: 1 if the thing is named." in page


def test_judges_that_contradict_each_other_are_told_of() -> None:
    bad = [1.0 - value for value in GOOD]
    judged = {
        "rule": Judgement({"base": bad, "chat": EVEN, "dpo": GOOD}),
        "reward model": Judgement({"base": GOOD, "chat": EVEN, "dpo": GOOD}),
    }
    models = [assessed("base"), assessed("chat"), assessed("dpo")]
    told = put_together(models, judged, CONFIG)["verdict"]
    about = [sentence for sentence in told if "contradict" in sentence]
    assert len(about) == 1
    assert about[0].startswith(
        "The judges contradict each other about base and chat: rule prefers base in 25 %"
    )
    assert "reward model in 75 %" in about[0]


def test_the_verdict_says_how_long_answers_are() -> None:
    text = " ".join(compared({"base": EVEN, "dpo": GOOD})["verdict"])
    assert "Tokens of an answer, on average: base 42.0, chat 42.0, dpo 42.0." in text


def test_a_judge_that_models_learned_to_please_is_named_as_such() -> None:
    models = [assessed("chat"), assessed("dpo")]
    judged = {"reward model": Judgement({"chat": EVEN, "dpo": GOOD}, pleased=["dpo"])}
    found = put_together(models, judged, CONFIG)
    assert found["best"] == "dpo"
    assert any("The judge reward model is what dpo learned to please" in told for told in found["verdict"])


def test_what_a_judge_counts_and_whom_it_labelled_for_says_why_a_model_wins() -> None:
    half = [0.5] * QUESTIONS
    parts = {"names it": {"chat": [0.0] * QUESTIONS, "dpo": GOOD}, "is short": {"chat": half, "dpo": half}}
    judged = {"rule": Judgement({"chat": EVEN, "dpo": GOOD}, parts, labelled=["dpo"])}
    found = put_together([assessed("chat"), assessed("dpo")], judged, CONFIG)
    text = " ".join(found["verdict"])
    assert (
        "in the mean of all answers: names it (1 at most): dpo 0.75, chat 0; is short (0.5 at most)" in text
    )
    assert "The judge rule also labelled the pairs of answers that dpo learned from" in text
    page = lxml.html.fromstring(comparison_page(found))
    assert "What rule counts" in page.text_content()


def test_where_intervals_overlap_nothing_is_claimed() -> None:
    first, *_ = compared({"base": [0.0] * QUESTIONS, "dpo": EVEN})["verdict"]
    assert first == "By the judge names_the_thing no model can be said to answer better than chat."


def test_without_a_judge_the_figures_decide() -> None:
    first, *rest = compared(ended=0.99)["verdict"]
    assert first.startswith("dpo is clearly better than chat in 1 figure, clearly worse in 0 figures")
    assert "writing, answers that end (99 %, not 90 %)" in " ".join(rest)


def test_all_models_stand_in_every_row() -> None:
    tree = lxml.html.fromstring(comparison_page(compared({"base": EVEN, "dpo": GOOD})))
    rows = [row for row in tree.xpath("//tbody/tr") if "answers that end" in row.text_content()]
    (cells,) = [row.xpath("./td") for row in rows]
    assert [cell.text_content().split()[0] for cell in cells] == ["100", "10", "90", "90"]
    assert "▼" in cells[1].text_content()
    assert tree.xpath("//h3[contains(., 'What is 0?')]")


def test_the_bits_of_models_are_compared_document_by_document() -> None:
    ratio = compared(bits=1.515)["bits_ratio"]["dpo"]
    assert ratio["value"] == pytest.approx(1.01)
    assert ratio["high"] - ratio["low"] < 1e-9


def test_models_that_answered_other_questions_are_not_compared() -> None:
    one, other = assessed("chat"), assessed("dpo")
    require_alike([one, other])
    other.answers[3]["id"] = "another"
    with pytest.raises(QuestionsDifferError, match="dpo answered 60 questions"):
        require_alike([one, other])


def test_a_single_site_is_shown_by_its_folders_and_many_by_their_hosts() -> None:
    one = {str(number): f"http://docs.test/{number % 20}/page" for number in range(100)}
    found = domains(one, dict.fromkeys(one, 10))
    assert len(set(found.values())) == SHOWN
    assert OTHER in found.values()
    two = {"a": "https://a.test/x/y", "b": "https://b.test/x/y"}
    assert domains(two, {"a": 1, "b": 1}) == {"a": "a.test", "b": "b.test"}


@pytest.mark.everything
@pytest.mark.parametrize("width", [360, 1400])
def test_a_page_fits_a_phone_and_a_desk(tmp_path: Path, width: int) -> None:
    pages = {"model": model_page(content("chat")), "comparison": comparison_page(compared({"dpo": GOOD}))}
    with browser() as driver:
        for name, page in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_text(page)
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            driver.get(path.as_uri())
            needed = driver.execute_script("return document.documentElement.scrollWidth")
            assert needed <= width
            assert driver.find_element(By.TAG_NAME, "h1").is_displayed()
