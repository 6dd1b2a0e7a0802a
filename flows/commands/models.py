"""`moinho tokenize`, `complete` and `chat`: what one does with a model."""

import io
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import ModelReference, StoreRoot, console, open_store
from pipeline.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class NothingToCompleteError(InputError):
    """The text to go on with is empty."""

    remedy = "Give a beginning in quotes."


class NothingToAnswerError(InputError):
    """The question is empty."""

    remedy = "Give a question in quotes, or none to talk."


def tokenize(
    model: ModelReference, text: Annotated[str, typer.Argument(help="The text.")], store: StoreRoot = None
) -> None:
    """Show the pieces of a text with their ids, and letters per token."""
    from flows.references import find_tokenizer_folder
    from pipeline.chat.terminal import tokenize as tokenize_in_terminal
    from pipeline.models.model import load_tokenizer

    tokenize_in_terminal(
        load_tokenizer(find_tokenizer_folder(open_store(store, needed=False), model)), console, text
    )


def complete(
    model: ModelReference,
    text: Annotated[str, typer.Argument(help="The beginning.")],
    top: Annotated[int, typer.Option(min=1, max=100, help="How many next words to show.")] = 10,
    store: StoreRoot = None,
) -> None:
    """Show the likeliest next words with their probabilities, then a continuation drawn by chance."""
    from pipeline.chat.terminal import complete as complete_in_terminal

    if not text.strip():
        raise NothingToCompleteError(
            'there is nothing to complete: give a beginning, such as "The function returns a"'
        )
    loaded, tokenizer = load_with_tokenizer(store, model)
    complete_in_terminal(loaded, tokenizer, console, text, top)


def chat(
    model: ModelReference,
    question: Annotated[
        str | None, typer.Argument(help="One question: it is answered, and that is all.")
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="A page in the browser, where people also vote.")
    ] = False,
    beside: Annotated[
        list[str] | None, typer.Option(help="With --web: another model on the page. Repeatable.")
    ] = None,
    votes: Annotated[
        str | None, typer.Option(help="With --web: the box that votes are kept in. Default: the run's name.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="With --web: port to listen on.")] = 8080,
    store: StoreRoot = None,
) -> None:
    """Talk to a model. /reset forgets the conversation; /exit or Ctrl-D ends it.

    Ctrl-C stops an answer, and between answers it ends the conversation. Questions may also be piped in, one
    on each line. With --web a page is served on this machine: answers to choose between, prompts to try,
    models side by side, and what goes on inside them; votes are kept in the store.
    """
    if web:
        from flows.people import open_page

        open_page(open_store(store, needed=False), model, beside or (), votes, port, console)
        return
    if question is not None and not question.strip():
        raise NothingToAnswerError(
            'there is nothing to answer: give a question, such as "What is a decorator?"'
        )
    from pipeline.chat.terminal import chat as chat_in_terminal

    loaded, tokenizer = load_with_tokenizer(store, model)
    source = sys.stdin if question is None else io.StringIO(" ".join(question.split()))
    chat_in_terminal(loaded, tokenizer, console, source)


def load_with_tokenizer(store: str | None, model: str) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """In the precision of its file; in fp32 where that is bf16 and the CPU is slow at it."""
    import torch

    from flows.references import find_model_folder
    from pipeline.hardware import is_quick_at_bf16
    from pipeline.models.model import load_model

    folder = find_model_folder(open_store(store, needed=False), model)
    return load_model(folder, None if is_quick_at_bf16() else torch.float32)
