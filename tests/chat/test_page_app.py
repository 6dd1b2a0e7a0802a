"""What the page's server answers, to its own page and to others."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.people import Named, shown
from flows.references import KINDS
from pipeline.alignment.ballots import BallotBox
from pipeline.chat.limits import Limits
from pipeline.chat.page.app import CODES, FILES, HEADERS, HERE, page_app
from pipeline.evaluation.insight.attention import attention, from_word
from pipeline.evaluation.insight.spelled import spell
from pipeline.models.generation import answer_greedily, context_tokens, encode, stop_ids
from pipeline.models.model import Model
from pipeline.store import Store
from pipeline.tokens.vocabulary import Vocabulary
from tests.chat.test_ballots import ONE, QUESTION, ballot
from tests.evaluation.stand_ins import SmallModel, publish_model, random_model

HOST = "127.0.0.1:8080"
SENTENCE = "The old mill grinds the wheat"
MESSAGES = [{"role": "user", "content": "Why?"}]


class SmallChat(SmallModel):
    stage, role = "finetune", "chat"


@pytest.fixture(scope="module")
def chat(evaluation_store: Store, small_vocabulary: Vocabulary) -> SmallChat:
    return publish_model(evaluation_store, random_model(1024), small_vocabulary, SmallChat)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> BallotBox:
    return BallotBox(Store(str(tmp_path_factory.mktemp("votes") / "store")).storage, "road")


@pytest.fixture(scope="module")
def client(chat: SmallChat, small_model: SmallModel, box: BallotBox) -> Iterator[TestClient]:
    named = [Named("road/chat", "road/chat@1", chat), Named("road/base", "road/base@2", small_model)]
    models = [shown(each, Limits(at_once=2, max_tokens=20)) for each in named]

    def where(text: str) -> list[dict[str, Any]]:
        return [{"url": "http://docs.test/", "text": text, "characters": len(text)}]

    with TestClient(page_app(models, box, [HOST], where, "road/base"), base_url=f"http://{HOST}") as client:
        yield client


def answered(client: TestClient, model: str, messages: list[dict[str, str]], **more: Any) -> list[Any]:
    body = {"model": model, "messages": messages, "temperature": 0} | more
    found = client.post("/api/answer", json=body)
    assert found.status_code == 200, found.text
    return [json.loads(event.removeprefix("data: ")) for event in found.text.split("\n\n") if event]


def greedy(model: Model, ids: list[int], most: int) -> str:
    loaded, tokenizer = model.load()
    stop = stop_ids(tokenizer)
    (found,) = answer_greedily(loaded, [ids], max_tokens=most, stop=stop)
    return str(tokenizer.decode([token for token in found if token not in stop]))


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/api/state"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "moinho.example"},
        {"host": "127.0.0.1:8081"},
        {"origin": "http://moinho.example"},
        {"origin": f"https://{HOST}"},
        {"origin": "null"},
    ],
)
def test_who_comes_by_another_address_or_from_another_page_is_sent_away(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    found = client.get(path, headers=headers)
    assert found.status_code == 403
    assert found.json()["error"]["message"] == f"this page answers to {HOST}"
    assert client.get(path, headers={"origin": f"http://{HOST}"}).status_code == 200


def test_no_other_page_can_vote(client: TestClient, box: BallotBox) -> None:
    body = ballot(77).model_dump(mode="json")
    assert client.post("/api/votes", json=body, headers={"origin": "http://evil.test"}).status_code == 403
    simple = client.post("/api/votes", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert simple.status_code == 400, "what a form of another page can send without asking is no vote"
    assert ballot(77) not in box.ballots()


@pytest.mark.parametrize("path", ["/", "/page/nothing", "/api/state", "/nowhere", "/api/look/next"])
def test_every_answer_says_that_the_page_loads_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    found = client.get(path)
    assert all(found.headers[name] == value for name, value in HEADERS.items())
    assert "default-src 'self'" in found.headers["content-security-policy"]


def test_its_files_are_served_and_no_others(client: TestClient) -> None:
    there = {path.name for path in HERE.iterdir() if path.suffix not in (".py", ".md", "")}
    assert there == {*FILES, "index.html"}
    for name in FILES:
        assert client.get(f"/page/{name}").status_code == 200
    for name in ("app.py", "..%2fapp.py", "none.js"):
        assert client.get(f"/page/{name}").status_code == 404


def test_the_page_is_told_what_there_is(client: TestClient) -> None:
    found = client.get("/api/state").json()
    chat, base = found.pop("models")
    assert found == {"chosen": "road/chat", "beside": "road/base", "box": "road", "traces": True}
    assert chat == {"name": "road/chat", "chats": True, "stage": "finetune", "context": 64}
    assert base == {"name": "road/base", "chats": False, "stage": "pretrain", "context": 64}


def test_an_answer_is_what_the_model_says_and_tells_how_it_ended_and_whose_it_is(
    client: TestClient, chat: SmallChat
) -> None:
    parts = answered(client, "road/chat", MESSAGES, max_tokens=12)
    _, tokenizer = chat.load()
    ids: Any = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=False)
    assert "".join(part["text"] for part in parts) == greedy(chat, list(ids), 12)
    assert [part["reason"] for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert parts[-1]["reason"] in ("stop", "length")
    assert {part["as"] for part in parts} == {"road/chat@1"}


def test_a_pretrained_model_goes_on_with_the_text(client: TestClient, small_model: SmallModel) -> None:
    turns = [("user", "Two?"), ("assistant", "Four."), ("user", "Three?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    parts = answered(client, "road/base", messages, max_tokens=8)
    ids = encode(small_model.load()[1], "Two?\nFour.\n\nThree?")
    assert "".join(part["text"] for part in parts) == greedy(small_model, ids, 8)


@pytest.mark.parametrize("path", ["/api/answer", "/api/look/next"])
def test_a_model_that_is_not_on_the_page_is_told(client: TestClient, path: str) -> None:
    found = client.post(path, json={"model": "road/dpo", "messages": MESSAGES, "text": SENTENCE})
    assert found.status_code == 404
    assert "no model 'road/dpo'" in found.json()["error"]["message"]


def test_a_prompt_that_is_too_long_is_told_with_both_numbers(client: TestClient) -> None:
    long = [{"role": "user", "content": "wheat " * 150}]
    found = client.post("/api/answer", json={"model": "road/chat", "messages": long})
    assert found.status_code == 400
    told = found.json()["error"]
    assert told["code"] == "context_length_exceeded"
    assert re.search(r"the prompt has \d+ tokens, and this model's context is 64", told["message"])


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "mill", "content": "x"}]}, "messages.0.role"),
        ({"temperature": 3}, "temperature: Input should be less than or equal to 2"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_cannot_be_asked_is_told_by_its_name(
    client: TestClient, body: dict[str, Any], found: str
) -> None:
    told = client.post("/api/answer", json={"model": "road/chat", "messages": MESSAGES} | body)
    assert told.status_code == 400
    assert found in told.json()["error"]["message"]


def test_a_vote_is_in_the_store_before_it_is_answered(client: TestClient, box: BallotBox) -> None:
    body = ballot(5).model_dump(mode="json")
    first, again = (client.post("/api/votes", json=body) for _ in range(2))
    assert (first.status_code, first.json()) == (201, {"new": True})
    assert (again.status_code, again.json()) == (201, {"new": False})
    assert ballot(5) in box.ballots()
    other = client.post("/api/votes", json=body | {"vote": "b"})
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "conflict"


@pytest.mark.parametrize(
    "other",
    [{"id": "../x"}, {"vote": "up"}, {"prompt": [QUESTION, QUESTION]}, {"answers": ONE}, {"extra": 1}],
)
def test_what_is_no_vote_is_refused_and_not_kept(
    client: TestClient, box: BallotBox, other: dict[str, Any]
) -> None:
    before = box.ballots()
    found = client.post("/api/votes", json=ballot(6).model_dump(mode="json") | other)
    assert found.status_code == 400
    assert found.json()["error"]["message"]
    half = json.dumps(ballot(6).model_dump(mode="json")).replace('"ana"', r'"\ud83d"')
    json_ = {"content-type": "application/json"}
    assert client.post("/api/votes", content=half, headers=json_).status_code == 400
    assert box.ballots() == before


def look(client: TestClient, kind: str, **asked: Any) -> Any:
    return client.post(f"/api/look/{kind}", json={"model": "road/chat", "text": SENTENCE} | asked)


def test_each_look_has_its_figures(client: TestClient) -> None:
    places = look(client, "next").json()["places"]
    assert len(places[0]["candidates"]) == 10
    assert places[-1]["probability"] is None
    without = look(client, "without", prediction="flour").json()
    assert without["prediction"].strip() == "flour"
    assert len(without["lost"]) == len(without["words"]) == 6
    similar = look(client, "similar", other="a mill by the river", word="mill").json()
    assert similar["same"][0] == pytest.approx(1, abs=1e-4)
    assert len(similar["same"]) == len(similar["others"]) == 3
    assert len(look(client, "near", word="the").json()["nearest"]) == 10
    place = {"url": "http://docs.test/", "text": SENTENCE, "characters": len(SENTENCE)}
    assert look(client, "where").json() == {"places": [place]}


def test_attention_goes_from_one_word_to_those_up_to_it(client: TestClient, chat: SmallChat) -> None:
    model, tokenizer = chat.load()
    spelled = spell(model, tokenizer, SENTENCE)
    for place, wanted in ((2, 2), (None, 5), (99, 5)):
        found = look(client, "attention", place=place).json()
        shares_LHW = from_word(attention(model, spelled), spelled, spelled.words[wanted])
        assert found["words"] == SENTENCE.split()
        assert found["place"] == wanted
        assert len(found["shares"][0][0]) == wanted + 1
        assert found["shares"][1][1] == pytest.approx(shares_LHW[1, 1, : wanted + 1].tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "asked", "code"),
    [
        ("next", {"text": "..."}, "nothing_to_look_at"),
        ("attention", {"text": "wheat " * 100}, "nothing_to_look_at"),
        ("similar", {"other": "rain", "word": "mill"}, "nothing_to_look_at"),
        ("near", {"word": ""}, "nothing_to_look_at"),
        ("next", {"text": "x" * 2001}, "invalid_request"),
        ("nothing", {}, "invalid_request"),
    ],
)
def test_what_cannot_be_looked_at_is_told(client: TestClient, kind: str, asked: Any, code: str) -> None:
    found = look(client, kind, **asked)
    assert found.status_code == 400
    assert found.json()["error"]["code"] == code


def test_without_the_training_text_nothing_is_looked_up(chat: SmallChat, box: BallotBox) -> None:
    app = page_app([shown(Named("road/chat", "", chat), Limits())], box, [HOST])
    client = TestClient(app, base_url=f"http://{HOST}")
    assert client.get("/api/state").json()["traces"] is False
    assert look(client, "where").status_code == 404


def test_both_languages_say_everything_and_nothing_is_said_that_nobody_shows() -> None:
    texts = json.loads((HERE / "texts.json").read_text())
    english, portuguese = texts["en"], texts["pt"]
    assert english.keys() == portuguese.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", portuguese[name])), name
    sources = [path.read_text() for path in HERE.glob("*.js")]
    said = {name for source in sources for name in re.findall(r"""["']([\w.]+)["']""", source)}
    page = (HERE / "index.html").read_text()
    marked = set(re.findall(r'data-(?:text|placeholder|label)="(\w+)"', page))
    assert marked <= english.keys()
    built = {f"{name}Help" for name in said} | {f"stage.{stage}" for stage in KINDS}
    built |= {f"error.{code}" for _, code in CODES.values()}
    answering = HERE.parent.joinpath("answering.py").read_text()
    built |= {f"error.{word}" for word in re.findall(r'"(\w+)"', answering)}
    assert english.keys() - said - marked - built == set()
    called = {name for source in sources for name in re.findall(r"""\b(?:say|text)\("([\w.]+)\"""", source)}
    assert called <= english.keys()
    models = {stage for stage, kind in KINDS.items() if issubclass(kind, Model)}
    assert {f"stage.{stage}" for stage in models} <= english.keys()


def test_the_context_is_what_the_model_has(client: TestClient, chat: SmallChat) -> None:
    context = client.get("/api/state").json()["models"][0]["context"]
    assert context == context_tokens(chat.load()[0])
