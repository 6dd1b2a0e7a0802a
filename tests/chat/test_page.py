"""People at the page, in a real browser: they ask, choose, better, look inside; and the server dies."""

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from flows.people import Named, shown
from flows.references import find_artifact
from pipeline.alignment.align import DpoModel
from pipeline.alignment.ballots import BallotBox
from pipeline.alignment.forms import read_votes
from pipeline.chat.answering import Server
from pipeline.chat.generation import Sampling
from pipeline.chat.limits import Limits
from pipeline.chat.page.app import Shown, page_app
from pipeline.corpus.hold_out import Corpus
from pipeline.models.generation import encode
from pipeline.models.model import MODEL_FOLDER, Model
from pipeline.store import Attempt, Made, Store
from tests.browser import browser
from tests.chat.pages import Page, Visitor, served
from tests.evaluation.stand_ins import NoConfig, SmallModel

pytestmark = pytest.mark.everything

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><b>bold</b>"
VOTES = 4


@pytest.fixture(scope="module")
def home(filled_road: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The road's store with a third model, which as a model is the second one."""
    folder = tmp_path_factory.mktemp("page") / "store"
    shutil.copytree(filled_road / "undisturbed", folder, symlinks=True)
    store = Store(str(folder))
    chat = find_artifact(store, "road/chat")
    assert isinstance(chat, Model)

    def build(attempt: Attempt) -> Made:
        shutil.copytree(chat.model_folder(), attempt.path(MODEL_FOLDER), dirs_exist_ok=True)
        return Made(attempt.publish_folder(MODEL_FOLDER))

    store.name("road/dpo", store.make(DpoModel, NoConfig(), {"chat": chat}, build))
    return folder


@pytest.fixture(scope="module")
def page(home: Path) -> Iterator[Page]:
    page = Page.start(home, "road/dpo")
    yield page
    assert page.stop() == 0, page.told()
    assert "Traceback" not in page.told()


@pytest.fixture(scope="module")
def shared() -> Iterator[Visitor]:
    with browser() as driver:
        yield Visitor(driver)


@pytest.fixture
def visitor(shared: Visitor, page: Page) -> Iterator[Visitor]:
    shared.screen(1100, 800)
    shared.open(page.url).script("localStorage.clear()")
    shared.open(page.url)
    yield shared
    complaints = [each for each in shared.driver.get_log("browser") if "status of 4" not in each["message"]]
    assert complaints == []


def test_an_answer_comes_in_parts_and_is_judged_and_bettered(visitor: Visitor, page: Page) -> None:
    visitor.script(
        "window.seen = new Set(); new MutationObserver(() => {"
        " const text = document.querySelector('.answer .text')?.textContent; if (text) seen.add(text); })"
        ".observe(document.getElementById('turns'), {subtree: true, childList: true, characterData: true})"
    )
    visitor.type("#voter", "Ana <b>" + Keys.TAB)
    visitor.ask("What does the function return?")
    assert visitor.script("return seen.size") > 3
    answer = visitor.one(".answer .text").text
    visitor.one('[data-vote="up"]').click()
    visitor.sees("Kept. Thank you.")
    visitor.one("[data-edit]").click()
    visitor.type("#better", "It returns a list.")
    visitor.one("[data-save]").click()
    visitor.is_kept()
    thumb, edit = sorted(
        (vote for vote in page.votes() if vote.voter == "Ana <b>"), key=lambda vote: vote.kind, reverse=True
    )
    assert (thumb.kind, thumb.vote, edit.kind, edit.better) == ("thumb", "up", "edit", "It returns a list.")
    assert thumb.answers[0].text.strip() == answer
    assert thumb.answers == edit.answers
    assert thumb.answers[0].model == f"road/dpo@{find_artifact(Store(str(page.store)), 'road/dpo').key}"
    visitor.ask("And then?")
    visitor.all('[data-vote="down"]')[-1].click()
    visitor.is_kept()
    (down,) = [vote for vote in page.votes() if vote.voter == "Ana <b>" and vote.vote == "down"]
    assert [turn.content for turn in down.prompt][1:] == ["It returns a list.", "And then?"]


def test_of_two_answers_one_is_chosen_and_only_then_it_is_said_whose_they_are(
    visitor: Visitor, page: Page
) -> None:
    visitor.open(page.url, "Bia")
    visitor.one("#two").click()
    visitor.one('#second [value="road/base"]').click()
    visitor.ask("What is a list?", "[data-choice]")
    assert [each.text for each in visitor.all(".answer .who")] == ["1", "2"]
    assert "road/dpo" not in visitor.one("#turns").get_attribute("innerHTML")
    visitor.press("2")
    visitor.is_kept()
    (vote,) = [vote for vote in page.votes() if vote.voter == "Bia"]
    assert (vote.kind, vote.vote) == ("choice", "b")
    said = [f"{at} · {each.model.partition('@')[0]}" for at, each in enumerate(vote.answers, 1)]
    assert [each.text for each in visitor.all(".answer .who")] == said
    assert {each.model.partition("@")[0] for each in vote.answers} == {"road/dpo", "road/base"}
    assert [each.text.strip() for each in vote.answers] == [
        each.text for each in visitor.all(".answer .text")
    ]
    assert read_votes([(1, vote.row())], "box")[0][0].margin == -1


def test_everything_is_done_by_keyboard(visitor: Visitor, page: Page) -> None:
    """From the head of the page by Tab; a digit that is written in a question chooses nothing."""
    focused = "return document.activeElement.id"
    visitor.script("document.getElementById('tab-chat').focus()")
    visitor.press(Keys.ARROW_RIGHT)
    assert visitor.one("#compare").is_displayed()
    visitor.press(Keys.ARROW_LEFT)
    reached = []
    while "two" not in reached:
        visitor.press(Keys.TAB)
        reached.append(visitor.script(focused))
        assert len(reached) < 20, reached
    assert {"voter", "language", "question"} <= set(reached)
    visitor.press(Keys.SPACE)
    visitor.script("document.getElementById('voter').value = 'Caio'")
    visitor.ask("What is 1 + 1?", "[data-choice]")
    visitor.one("#question").send_keys("1 and 2 and 0")
    assert visitor.all("[data-choice]")
    visitor.one("#question").clear()
    visitor.script("document.querySelector('[data-choice]').focus()")
    visitor.press("0")
    visitor.is_kept()
    assert visitor.script(focused) == "question"
    assert [vote.vote for vote in page.votes() if vote.voter == "Caio"] == ["tie"]


def test_templates_go_before_the_question(visitor: Visitor, page: Page) -> None:
    visitor.open(page.url, "Davi")
    visitor.one("summary").click()
    visitor.one('#template [value="few"]').click()
    visitor.one("#examples").send_keys("Two?\nFour.\n\nThree?\nSix.")
    visitor.ask("Five?")
    visitor.one('[data-vote="up"]').click()
    visitor.one("#new").click()
    visitor.one('#template [value="system"]').click()
    visitor.one("#system").send_keys("Be brief.")
    visitor.ask("Seven?")
    visitor.one('[data-vote="down"]').click()
    visitor.is_kept()
    down, up = sorted((vote for vote in page.votes() if vote.voter == "Davi"), key=lambda vote: vote.vote)
    assert [turn.content for turn in up.prompt] == ["Two?", "Four.", "Three?", "Six.", "Five?"]
    assert [(turn.role, turn.content) for turn in down.prompt] == [
        ("system", "Be brief."),
        ("user", "Seven?"),
    ]


def test_one_prompt_is_answered_in_three_columns(visitor: Visitor) -> None:
    visitor.one("#tab-compare").click()
    visitor.one("#compare-question").send_keys("The function returns" + Keys.ENTER)
    visitor.until(lambda: len(visitor.all("#columns [data-done]")) == 3)
    columns = {each.get_attribute("data-model"): each.text for each in visitor.all("#columns .answer")}
    assert list(columns) == ["road/base", "road/chat", "road/dpo"]
    assert "pretrained: goes on with the text" in columns["road/base"]
    assert "aligned by pairs of answers" in columns["road/dpo"]
    texts = [each.text for each in visitor.all("#columns .text")]
    assert texts[1] == texts[2] != texts[0], "the same weights answer alike where nothing is left to chance"


def look(visitor: Visitor, kind: str) -> str:
    visitor.one(f"#look-{kind} button[type=submit]").click()
    visitor.until(lambda: visitor.all(f"#look-{kind} .found[data-done]"))
    return visitor.one(f"#look-{kind} .found").text


def test_the_page_shows_what_goes_on_inside(visitor: Visitor, home: Path) -> None:
    corpus = find_artifact(Store(str(home)), "road/corpus")
    assert isinstance(corpus, Corpus)
    row = next(iter(corpus.dataset("train")))
    phrase = max(row["text"].splitlines(), key=len)[:300]
    visitor.one("#tab-look").click()
    assert "Something is missing" in look(visitor, "next")
    visitor.one("#look-text").send_keys("The function returns a list of names")
    assert "%" in look(visitor, "next")
    visitor.all("#look-next .tokens button")[1].click()
    assert "bits of surprise" in visitor.one("#look-next .found").text
    assert "layer 2" in look(visitor, "attention")
    words = [each.text for each in visitor.all("#look-attention .words button")]
    assert words == ["The", "function", "returns", "a", "list", "of", "names"]
    visitor.all("#look-attention .words button")[2].click()
    visitor.until(lambda: len(visitor.all("#look-attention th.word")) == 3)
    visitor.one('#look-attention select [value="1"]').click()
    assert "head 1" in visitor.one("#look-attention .heat").text
    assert "names" in look(visitor, "without")
    visitor.one("#look-similar [data-field=other]").send_keys("to list the files")
    visitor.one("#look-similar [data-field=word]").send_keys("list")
    assert "embedding" in look(visitor, "similar")
    visitor.one("#look-near [data-field=word]").send_keys("returns")
    assert len(look(visitor, "near").splitlines()) >= 10
    visitor.type("#look-text", phrase)
    assert "characters in common" in look(visitor, "where")
    assert row["url"] in [each.get_attribute("href") for each in visitor.all("#look-where a")]


def test_both_languages_are_whole_and_the_choice_stays(visitor: Visitor, page: Page) -> None:
    visitor.ask("Why?")
    texts = json.loads(Path("pipeline/chat/page/texts.json").read_text())
    visitor.one("#language").click()
    assert visitor.script("return document.documentElement.lang") == "pt-BR"
    said = visitor.script(
        "return [...document.querySelectorAll('[data-text]')].map(e => [e.dataset.text, e.textContent])"
    )
    assert len(said) > 40
    for name, text in said:
        assert text.partition("{")[0].startswith(texts["pt"][name].partition("{")[0])
    assert "“road”" in visitor.one("#hint").text
    visitor.open(page.url)
    assert visitor.one("#send").text == "Enviar"
    visitor.one("#question").send_keys("palavra " * 300 + Keys.ENTER)
    visitor.sees("o modelo lê 128 tokens por vez")
    assert visitor.one("#question").get_attribute("value").startswith("palavra"), "it need not be typed again"


def test_what_people_and_models_write_is_text(visitor: Visitor) -> None:
    visitor.ask(HOSTILE)
    assert visitor.one(".question").text == HOSTILE
    assert not visitor.all("#turns img, #turns b")
    visitor.one("#tab-look").click()
    visitor.one("#look-text").send_keys(HOSTILE)
    look(visitor, "next")
    look(visitor, "attention")
    assert not visitor.all("#looks img, #looks b")
    assert visitor.driver.title == "moinho"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone(visitor: Visitor, page: Page, scheme: str) -> None:
    visitor.screen(360, 740, scheme)
    visitor.open(page.url)
    visitor.one("#two").click()
    visitor.ask("What is a list?", "[data-choice]")
    for tab in ("chat", "compare", "look"):
        visitor.one(f"#tab-{tab}").click()
        if tab == "look":
            visitor.one("#look-text").send_keys(
                "The function returns a list of many names and one value " * 3
            )
            look(visitor, "attention")
        assert visitor.script("return document.documentElement.scrollWidth") <= 360
        small = [each.text for each in visitor.all("main button.main") if 0 < each.size["height"] < 40]
        assert small == [], "too small for a thumb"


def vote_often(url: str, voter: str, tabs: int = 1) -> None:
    """In a browser of its own: as many questions, each in one of the tabs, and a thumb for each answer."""
    with browser() as driver:
        visitor = Visitor(driver).open(url, voter)
        handles = [driver.current_window_handle]
        while len(handles) < tabs:
            driver.switch_to.new_window("tab")
            visitor.open(url, f"{voter}-{len(handles) + 1}")
            handles.append(driver.current_window_handle)
        for number in range(VOTES):
            driver.switch_to.window(handles[number % tabs])
            visitor.one("#new").click()
            visitor.ask(f"What is number {number}?")
            visitor.one('[data-vote="up"]').click()
        visitor.is_kept()


def test_votes_of_several_people_at_once_are_all_kept(page: Page) -> None:
    with ThreadPoolExecutor() as pool:
        for done in (pool.submit(vote_often, page.url, "Eva"), pool.submit(vote_often, page.url, "Gil", 2)):
            done.result()
    asked = {name: [v.prompt[-1].content for v in page.votes() if v.voter == name] for name in ("Eva", "Gil")}
    assert sorted(asked["Eva"]) == [f"What is number {number}?" for number in range(VOTES)]
    assert sorted(asked["Gil"]) == [f"What is number {number}?" for number in range(0, VOTES, 2)]
    assert len([vote for vote in page.votes() if vote.voter == "Gil-2"]) == VOTES // 2


def test_a_server_that_is_killed_loses_no_vote(home: Path) -> None:
    """Votes before the kill, votes while nobody answers, a reload in vain, and a server that comes back."""
    page = Page.start(home, "road/chat")
    with browser() as driver:
        visitor = Visitor(driver).open(page.url, "Hugo")
        visitor.one("#two").click()
        for number in range(VOTES):
            visitor.one("#new").click()
            visitor.ask(f"What is number {number}?", "[data-choice]")
            if number == 1:
                page.kill()
            visitor.one('[data-vote="a"]').click()
            if number == 1:
                visitor.sees("The server does not answer. Votes that wait for it in this browser: 1.")
                assert [vote.prompt[-1].content for vote in mine(page)] == ["What is number 0?"]
                visitor.one("#question").send_keys("Is anybody there?" + Keys.ENTER)
                visitor.until(lambda: visitor.all(".answer .error"))
                page = Page.start(home, "road/chat", page.port)
                visitor.one("#question").clear()
        visitor.until(lambda: "does not answer. Votes" not in visitor.text())
        visitor.is_kept()
    assert page.stop() == 0
    assert sorted(vote.prompt[-1].content for vote in mine(page)) == [
        f"What is number {number}?" for number in range(VOTES)
    ]


def mine(page: Page) -> list[Any]:
    return [vote for vote in page.votes() if vote.voter == "Hugo"]


class Waiting:
    """An engine that says two words, and goes on when it may."""

    def __init__(self, given: Server) -> None:
        self.tokenizer, self.context, self.may = given.tokenizer, 10_000, threading.Event()
        self.words = encode(self.tokenizer, f"Two words {HOSTILE}")[1:]

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def check(self) -> None: ...

    async def tokens(
        self, prompt: Sequence[int], sampling: Sampling, stop: Sequence[int]
    ) -> AsyncGenerator[int, None]:
        for token in self.words:
            yield token
        while not self.may.is_set():
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def waiting(small_model: SmallModel, store: Store, limits: Limits) -> Iterator[tuple[str, Shown, Waiting]]:
    """A page with a model that never ends an answer by itself."""
    model = shown(Named("road/chat", "road/chat@1", small_model), limits)
    engine = model.server.engine = Waiting(model.server)
    with served(lambda hosts: page_app([model], BallotBox(store.storage, "road"), hosts)) as url:
        yield url, model, engine


def test_a_stopped_answer_gets_no_vote_and_frees_its_place(small_model: SmallModel, store: Store) -> None:
    with waiting(small_model, store, Limits(1, 0)) as (url, model, engine), browser() as driver:
        visitor = Visitor(driver).open(url)
        visitor.one("#two").click()
        visitor.one("#question").send_keys("Why?" + Keys.ENTER)
        visitor.sees("Two words", "The server is busy; try again in a moment.")
        assert not visitor.all("#turns img, #turns b"), "what a model writes is text"
        assert not visitor.one("#send").is_displayed()
        visitor.one("#stop").click()
        visitor.sees("(stopped; there is no vote on it)")
        assert not visitor.all("[data-vote]")
        visitor.until(lambda: model.server._within == 0)
        engine.may.set()
        visitor.one("#two").click()
        visitor.one("#new").click()
        assert visitor.one("#turns").text == ""
        visitor.ask("And now?")


def test_a_refused_vote_is_told_and_stays_until_it_is_thrown_away(
    small_model: SmallModel, store: Store
) -> None:
    with waiting(small_model, store, Limits()) as (url, _, _), browser() as driver:
        visitor = Visitor(driver).open(url)
        visitor.script("localStorage.setItem('moinho-vote-1', '{\"id\": \"1\"}')")
        visitor.sees("A vote was refused.", "should match pattern")
        visitor.open(url)
        visitor.sees("A vote was refused.")
        visitor.one("#outbox button").click()
        assert visitor.one("#outbox").text == ""
        assert (
            visitor.script("return Object.keys(localStorage).filter(key => /refused/.test(key)).length") == 0
        )
