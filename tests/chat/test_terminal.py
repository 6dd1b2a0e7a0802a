import io

import pytest
from rich.console import Console

from pipeline.chat.generation import Conversation, Sampling
from pipeline.chat.terminal import chat, complete, tokenize
from pipeline.models.generation import context_tokens
from pipeline.models.next_words import next_words
from pipeline.tokens.markers import ASSISTANT_ID, BEGIN_ID, USER_ID
from tests.evaluation.stand_ins import SmallModel

SHORT = Sampling(max_tokens=6)


def screen() -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=80, force_terminal=False), output


def test_a_pipe_is_a_question_on_each_line(small_model: SmallModel) -> None:
    console, output = screen()
    chat(*small_model.load(), console, io.StringIO("Who?\n\nWhat [b]now[/b]?\n"), SHORT)
    shown = output.getvalue()
    assert shown.count("moinho ") == 2
    assert "you Who?" in shown
    assert "you What [b]now[/b]?" in shown


def test_exit_leaves_and_reset_forgets(small_model: SmallModel) -> None:
    console, output = screen()
    chat(*small_model.load(), console, io.StringIO("One?\n/reset\n/quit\n/exit\nNever?\n"), SHORT)
    assert "forgotten" in output.getvalue()
    assert "there is no /quit; /exit leaves" in output.getvalue()
    assert "Never?" not in output.getvalue()


class Interrupting(io.StringIO):
    """A terminal whose user asks once and then presses Ctrl-C."""

    def isatty(self) -> bool:
        return True

    def readline(self, *_: object) -> str:
        line = super().readline()
        if not line:
            raise KeyboardInterrupt
        return line


def test_ctrl_c_at_the_prompt_ends_the_conversation(small_model: SmallModel) -> None:
    console, output = screen()
    chat(*small_model.load(), console, Interrupting("Who?\n"), SHORT)
    assert output.getvalue().count("you ") == 2


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(
    small_model: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, output = screen()
    ask = Conversation.ask
    stopped: list[str] = []

    def interrupted(self, question):  # type: ignore[no-untyped-def]
        answer = ask(self, question)
        if question == "First?":
            stopped.append(question)
            yield next(answer)
            raise KeyboardInterrupt
        yield from answer

    monkeypatch.setattr(Conversation, "ask", interrupted)
    chat(*small_model.load(), console, io.StringIO("First?\nSecond?\n"), SHORT)
    assert stopped == ["First?"]
    assert "(stopped)" in output.getvalue()
    assert "you Second?" in output.getvalue()


def test_an_answer_stopped_early_stays_a_turn(small_model: SmallModel) -> None:
    conversation = Conversation(*small_model.load(), Sampling(max_tokens=6, temperature=1))
    answer = conversation.ask("Why?")
    begun = next(answer)
    answer.close()
    assert conversation.messages == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": begun},
    ]


def test_old_turns_are_dropped_when_the_context_is_full(small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    conversation = Conversation(model, tokenizer, SHORT)
    for number in range(12):
        conversation.messages.append({"role": "user", "content": f"question {number}"})
        ids = conversation.prompt()
        assert len(ids) <= context_tokens(model) - SHORT.max_tokens
        assert ids[:2] == [BEGIN_ID, USER_ID]
        assert ids[-1] == ASSISTANT_ID
        assert f"question {number}" in tokenizer.decode(ids)
        conversation.messages.append({"role": "assistant", "content": f"answer {number}"})
    assert "question 0" not in tokenizer.decode(ids)


def test_the_beginning_of_a_question_that_is_too_long_is_cut_off(small_model: SmallModel) -> None:
    model, tokenizer = small_model.load()
    conversation = Conversation(model, tokenizer, SHORT)
    conversation.messages.append({"role": "user", "content": "word " * 300 + "end?"})
    ids = conversation.prompt()
    assert len(ids) == context_tokens(model) - SHORT.max_tokens
    assert "end?" in tokenizer.decode(ids)


def test_complete_shows_words_with_probabilities_and_a_continuation(small_model: SmallModel) -> None:
    console, output = screen()
    model, tokenizer = small_model.load()
    complete(model, tokenizer, console, "The list [of]", top=5, sampling=SHORT)
    shown = output.getvalue()
    word, probability = next_words(model, tokenizer, "The list [of]", 5)[0]
    assert f"{word} " in shown
    assert f"{probability:.1%}" in shown
    assert "█" * 30 in shown
    assert "The list [of]" in shown


def test_tokenize_shows_every_piece_with_its_id(small_model: SmallModel) -> None:
    console, output = screen()
    _, tokenizer = small_model.load()
    tokenize(tokenizer, console, "The list\n漢")
    shown = output.getvalue()
    ids = tokenizer.encode("The list\n漢", add_special_tokens=False)
    assert all(str(token) in shown for token in ids)
    assert "␣list" in shown
    assert "⏎" in shown
    assert "<0xE6>" in shown
    assert f"{len(ids)} tokens, {8 / len(ids):.2f} letters and {12 / len(ids):.2f} bytes per token" in shown
