"""`moinho serve` and `moinho votes`: a model for programs, and what people thought of its answers."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.options import AsJson, ModelReference, StoreRoot, console, open_store, print_json

Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets the whole network ask.")]


def serve(
    model: ModelReference,
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    at_once: Annotated[int, typer.Option(min=1, help="Answers that the model writes at a time.")] = 8,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; others are told 429.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.1, help="The longest that an answer may take.")] = 120.0,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the API key, mode 600. Default: $MOINHO_API_KEY, or a new one."),
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the model.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each copy.")] = 0.0,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join (host:port, or auto). Default: a Ray of this machine."),
    ] = None,
    store: StoreRoot = None,
) -> None:
    """Serve a model by Ray Serve, with OpenAI's interface: /v1/chat/completions, /v1/completions, /v1/models.

    Ctrl-C ends it. Every request has to bring the API key.
    """
    from flows.people import api_key, found_models
    from flows.serving import Asked, serve_model
    from pipeline.chat.limits import Limits

    named = found_models(open_store(store, needed=False), model, ())[0]
    key, is_new = api_key(key_file)
    limits = Limits(at_once, waiting, max_tokens, seconds)
    serve_model(Asked(named, limits, key, is_new, host, port, replicas, gpus, address), console)


def votes(
    name: Annotated[
        str | None, typer.Argument(metavar="[BOX]", help="Whose votes are printed, one JSON a line.")
    ] = None,
    store: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the boxes of votes that people gave on the page, or print the votes of one.

    What is printed has the form of a file of preferences: `moinho votes quickstart > votes.jsonl`, and
    `preferences.source = "votes.jsonl"`; or name the box itself, `preferences.source = "votes:quickstart"`.
    """
    from pipeline.alignment.ballots import BallotBox, boxes, known_box

    storage = open_store(store).storage
    if name is not None:
        for line in known_box(storage, name).rows():
            sys.stdout.write(line.decode())
        return
    counted = {each: BallotBox(storage, each).ballots() for each in boxes(storage)}
    rows = [
        {"box": each, "votes": len(found), "voters": len({vote.voter for vote in found})}
        for each, found in counted.items()
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("nobody has voted yet: `moinho chat MODEL --web` opens the page")
        return
    table = Table("box", "votes", "voters", box=None, pad_edge=False)
    for row in rows:
        table.add_row(escape(str(row["box"])), str(row["votes"]), str(row["voters"]))
    console.print(table)
