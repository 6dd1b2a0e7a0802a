"""Talking with models in a terminal: what `moinho chat`, `complete` and `tokenize` do."""

from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.chat.generation import Conversation, Sampling
from pipeline.models.generation import document_end, encode, piece_bytes, stream
from pipeline.models.next_words import next_words
from pipeline.tokens.markers import markers_of, neutralise, restore

BAR_CELLS = 30
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
EXIT, RESET = "/exit", "/reset"


def chat(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
    source: TextIO,
    sampling: Sampling | None = None,
) -> None:
    """A conversation, streamed, until `/exit` or the end of `source`.

    `source` is a terminal, or a pipe or file with a question on each line. `/reset` begins anew.
    Ctrl-C stops an answer; between answers it ends the conversation.
    """
    conversation = Conversation(model, tokenizer, sampling or Sampling())
    if source.isatty():
        console.print(f"[dim]{EXIT} leaves, {RESET} begins anew, Ctrl-C stops an answer[/]")
    for question in _questions(console, source):
        if question == EXIT:
            return
        if question == RESET:
            conversation.reset()
            console.print("[dim]forgotten[/]")
            continue
        if question[:1] == "/" and question[1:].isalpha():
            console.print(f"[dim]there is no {question}; {EXIT} leaves, {RESET} begins anew[/]")
            continue
        _show_answer(conversation, question, console)


def _questions(console: Console, source: TextIO) -> Iterator[str]:
    """Lines that are not empty."""
    asks = source.isatty()
    while True:
        try:
            if asks:
                console.print("[bold cyan]you[/] ", end="")
            line = source.readline()
        except KeyboardInterrupt:
            line = ""
        if not line:
            if asks:
                console.print()
            return
        if question := line.strip():
            if not asks:
                console.print(Text.assemble(("you ", "bold cyan"), question), soft_wrap=True)
            yield question


def _show_answer(conversation: Conversation, question: str, console: Console) -> None:
    console.print("[bold green]moinho[/] ", end="")
    answer = conversation.ask(question)
    try:
        _show(answer, console, conversation.tokenizer)
    except KeyboardInterrupt:
        console.print(" [dim](stopped)[/]", end="")
    finally:
        answer.close()
    console.print("\n")


def _show(pieces: Iterator[str], console: Console, tokenizer: PreTrainedTokenizerBase) -> None:
    markers = markers_of(tokenizer)
    for characters in pieces:
        console.print(Text(restore(characters, markers)), end="", soft_wrap=True)


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
    text: str,
    top: int = 10,
    sampling: Sampling | None = None,
) -> None:
    """The likeliest next words with their probabilities as bars, then the text with a continuation."""
    words = next_words(model, tokenizer, text, top)
    table = Table("next word", "probability", "", box=None, header_style="dim", pad_edge=False)
    table.columns[1].justify = "right"
    for word, probability in words:
        share = probability / words[0][1]
        table.add_row(
            Text(restore(word, markers_of(tokenizer))), f"{probability:.1%}", Text(_bar(share), style="cyan")
        )
    console.print(table)
    console.print()
    drawn = sampling or Sampling(max_tokens=64)
    console.print(Text(text, style="bold"), end="", soft_wrap=True)
    _show(
        stream(
            model,
            tokenizer,
            encode(tokenizer, text),
            max_tokens=drawn.max_tokens,
            stop=document_end(tokenizer),
            temperature=drawn.temperature,
            top_k=drawn.top_k,
            top_p=drawn.top_p,
            seed=drawn.seed,
        ),
        console,
        tokenizer,
    )
    console.print()


def _bar(share: float) -> str:
    """A bar of `share` of the full width, to an eighth of a cell."""
    eighths = round(share * BAR_CELLS * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]


def tokenize(tokenizer: PreTrainedTokenizerBase, console: Console, text: str) -> None:
    """The pieces with their ids, and how many letters and bytes a token holds."""
    ids = [
        int(index)
        for index in tokenizer.encode(neutralise(text, markers_of(tokenizer)), add_special_tokens=False)
    ]
    spelt = piece_bytes(tokenizer)
    table = Table("id", "piece", "bytes", box=None, header_style="dim", pad_edge=False)
    table.columns[0].justify = table.columns[2].justify = "right"
    for token in ids:
        table.add_row(str(token), Text(visible(spelt[token])), str(len(spelt[token])))
    console.print(table)
    letters = sum(character.isalpha() for character in text)
    size = len(text.encode())
    per = max(len(ids), 1)
    console.print(
        f"{len(ids)} tokens, {letters / per:.2f} letters and {size / per:.2f} bytes per token",
        highlight=False,
    )


def visible(piece: bytes) -> str:
    """The piece with its spaces and line ends to be seen; a part of a character as hexadecimal."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")
