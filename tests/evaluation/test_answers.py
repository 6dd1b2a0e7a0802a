import pytest

from pipeline.evaluation.answers import Exchange, answers, own_against_shuffled, prompt_ids, read_exchanges
from pipeline.evaluation.likelihood import token_nats
from pipeline.models.generation import encode
from pipeline.tokens.markers import ASSISTANT_ID, BEGIN_ID, TURN_END_ID, USER_ID
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import SmallConversations, SmallModel, random_model


def exchange(question: str, answer: str, language: str = "en") -> Exchange:
    return Exchange(language, ({"role": "user", "content": question},), answer, id=question)


def test_the_prompt_ends_where_the_assistant_begins(small_vocabulary: Vocabulary) -> None:
    ids = prompt_ids(small_vocabulary.tokenizer(), [{"role": "user", "content": "Why?"}])
    assert ids[:2] == [BEGIN_ID, USER_ID]
    assert ids[-2:] == [TURN_END_ID, ASSISTANT_ID]


def test_conversations_are_drawn_by_the_seed(small_conversations: SmallConversations) -> None:
    paths = small_conversations.paths("held-out/")
    drawn = read_exchanges(paths, 4, seed=0)
    assert len(drawn) == 4
    assert drawn == read_exchanges(paths, 4, seed=0) != read_exchanges(paths, 4, seed=1)
    assert len(read_exchanges(paths, 100, seed=0)) == 6
    assert drawn[0].question.startswith("What is number ")


def test_an_answer_without_an_end_is_as_long_as_allowed(small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    found = answers(model, tokenizer, [exchange("What?", "That.")], max_tokens=7)
    assert found[0].ended == (found[0].tokens < 7)


def test_own_answers_are_compared_over_answer_and_end_marker(small_vocabulary: Vocabulary) -> None:
    model, tokenizer = random_model(1024), small_vocabulary.tokenizer()
    one, two = exchange("What is this?", "It is a list."), exchange("And that?", "A number, or none.")
    found = own_against_shuffled(model, tokenizer, [one, two])
    nats = {}
    for first, asked in (("one", one), ("two", two)):
        for second, given in (("one", one), ("two", two)):
            prompt = prompt_ids(tokenizer, asked.messages)
            answer = [*encode(tokenizer, given.answer)[1:], TURN_END_ID]
            costs = token_nats(model, [[*prompt, *answer]])[0][-len(answer) :]
            nats[first, second] = sum(costs) / len(answer)
    own, shuffled = nats["one", "one"] + nats["two", "two"], nats["one", "two"] + nats["two", "one"]
    assert found["own_nats_per_token"] == pytest.approx(own / 2, rel=1e-4)
    assert found["shuffled_nats_per_token"] == pytest.approx(shuffled / 2, rel=1e-4)
    likelier = [nats["one", "one"] < nats["one", "two"], nats["two", "two"] < nats["two", "one"]]
    helps = [nats["two", "two"] < nats["one", "two"], nats["one", "one"] < nats["two", "one"]]
    assert found["own_likelier_share"] == sum(likelier) / 2
    assert found["question_helps_share"] == sum(helps) / 2


def test_only_answers_of_one_language_are_compared(small_vocabulary: Vocabulary) -> None:
    pairs = [exchange("Why?", "So."), exchange("Porquê?", "Porque sim.", "pt")]
    assert own_against_shuffled(random_model(1024), small_vocabulary.tokenizer(), pairs) == {}
