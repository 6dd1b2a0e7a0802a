"""Models before people: which ones the page shows, and the key by which a served one is asked."""

import contextlib
import copy
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.references import find_artifact, find_model_folder, made_from
from pipeline.errors import InputError
from pipeline.models.model import Model, load_model
from pipeline.store import Store
from pipeline.store.store import StaleArtifactError, names_by_base

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pipeline.chat.limits import Limits
    from pipeline.chat.page.app import Shown, Where

KEY_VARIABLE = "MOINHO_API_KEY"
ABOVE = ("chat", "base")
"""Inputs of a model that are the model it was made from."""
HOST, NAMES = "127.0.0.1", ("127.0.0.1", "localhost")
"""Where the page listens, and by which names a browser may call it: it asks nobody who he is."""
AT_ONCE = 8
"""Answers that the page's models write at a time."""


class ApiKeyError(InputError):
    """The file with the API key is not there, is empty, or others may read it."""

    remedy = "Write the key into a file that only you may read (chmod 600), or set MOINHO_API_KEY."


@dataclass(frozen=True)
class Named:
    """A model and what it is called."""

    name: str
    identity: str
    """With its key, where it has one."""
    model: Model | Path


def found_models(store: Store, reference: str, others: Sequence[str]) -> list[Named]:
    """The model that is meant, then the others, then those that it was made from: aligned, chat, base."""
    found: dict[str, Named] = {}
    names = names_by_base(store.named())
    below: list[Model] = []
    for each in (reference, *others):
        folder = find_model_folder(store, each)
        if (Path(each) / "config.json").is_file():
            alike = any(other.name == folder.name for other in found.values())
            name = str(folder) if alike else folder.resolve().name
            found.setdefault(str(folder), Named(name, name, folder))
            continue
        artifact = find_artifact(store, each)
        assert isinstance(artifact, Model)
        known = names.get(artifact.base, [])
        name = each if each in known else _name_of(artifact, names)
        found.setdefault(artifact.base, Named(name, f"{name}@{artifact.key}", artifact))
        below += _made_from(artifact)
    for model in below:
        name = _name_of(model, names)
        found.setdefault(model.base, Named(name, f"{name}@{model.key}", model))
    return list(found.values())


def _name_of(model: Model, names: Mapping[str, Sequence[str]]) -> str:
    """The first of its names; its key, if it has none."""
    return min(names.get(model.base, ()), default=model.base)


def _made_from(model: Model) -> Iterator[Model]:
    """The models below one, as far as the store has them, the nearest first."""
    role = next((role for role in ABOVE if role in model.record.inputs), None)
    below = None
    with contextlib.suppress(StaleArtifactError):
        below = made_from(model, role) if role is not None else None
    if isinstance(below, Model):
        yield below
        yield from _made_from(below)


def shown(named: Named, limits: "Limits") -> "Shown":
    """The model in memory, once to answer and once to be looked into; both have the same weights."""
    import torch

    from pipeline.chat.answering import Server
    from pipeline.chat.engine import engine_of
    from pipeline.chat.page.app import Shown
    from pipeline.chat.page.looks import Look
    from pipeline.hardware import is_quick_at_bf16

    dtype = None if is_quick_at_bf16() else torch.float32
    model, tokenizer = (
        load_model(named.model, dtype) if isinstance(named.model, Path) else named.model.load(dtype)
    )
    # Attention is computed otherwise where its weights are asked for, so the engine has a twin.
    tensors: dict[int, Any] = {id(each): each for each in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, tensors)
    server = Server(engine_of(model, tokenizer, limits.at_once), named.name, limits, "")
    stage = "" if isinstance(named.model, Path) else named.model.stage
    return Shown(server, Look(twin, tokenizer), named.identity, stage)


def open_page(
    store: Store,
    reference: str,
    beside: Sequence[str],
    box: str | None,
    port: int,
    console: Console,
) -> None:
    """The page of `moinho chat --web`, until Ctrl-C. Raises PortInUseError and what finding models raises."""
    from flows.serving import serve_page
    from pipeline.tracking.destination import require_free

    require_free(HOST, port)
    serve_page(page_of(store, reference, beside, box, port, console), HOST, port, console)


def page_of(
    store: Store, reference: str, beside: Sequence[str], box: str | None, port: int, console: Console
) -> "FastAPI":
    """The page with a model, others beside it, and those that it was made from; votes go to `box`, which is
    called as the run is unless it is named."""
    from pipeline.alignment.ballots import BallotBox
    from pipeline.chat.limits import Limits
    from pipeline.chat.page.app import page_app

    found = found_models(store, reference, beside)
    ballots = BallotBox(store.storage, box or _box_of(found[0].name))
    with console.status("loading models"):
        models = [shown(named, Limits(AT_ONCE, AT_ONCE)) for named in found]
    hosts = [address for name in NAMES for address in _addresses(name, port)]
    second = found[1].name if beside and len(found) > 1 else ""
    console.print(f"votes go to the box {ballots.name} of {store.storage.address}", soft_wrap=True)
    return page_app(models, ballots, hosts, _where(store, reference, console), second)


def _box_of(name: str) -> str:
    """The run's name; of another model as much of its own as a box may be called."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name.partition("/")[0]).strip("-") or "votes"


def _addresses(name: str, port: int) -> list[str]:
    """As browsers write it: without the port that goes without saying."""
    return [f"{name}:{port}", *([name] if port == 80 else ())]


def _where(store: Store, reference: str, console: Console) -> "Where | None":
    """Looks a text up in what the model learned from; None if that is not in the store."""
    from flows.tracing import indexes_of, learned_by, pretrained
    from pipeline.corpus.text_index import TextIndex, as_asked, find_text

    try:
        corpora = learned_by(pretrained(store, reference)).corpora
    except InputError:
        return None
    if not corpora:
        return None

    alone = threading.Lock()
    indexes: list[TextIndex] = []

    def where(text: str) -> list[dict[str, Any]]:
        asked = as_asked(text)
        with alone:  # what is asked for first makes the index, and only once
            indexes[:] = indexes or indexes_of(corpora, console)
        found = find_text(indexes, asked, least_words=2, most=5, most_places=3)
        return [
            {"url": place.url, "text": each.text, "characters": len(each.text)}
            for each in found
            for place in each.places
        ]

    return where


def api_key(file: Path | None) -> tuple[str, bool]:
    """The key that clients have to send, and whether it was made just now: from the file, else from the
    environment, else a new one. Raises ApiKeyError."""
    if file is not None:
        try:
            found = file.stat()
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiKeyError(f"{file}: no API key there ({error}); write one into it, chmod 600") from error
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ApiKeyError(
                f"{file}: others may read it (mode {stat.S_IMODE(found.st_mode):o}); chmod 600 {file}"
            )
        if not key:
            raise ApiKeyError(f"{file} is empty; write a key into it")
        return key, False
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return key, False
    return secrets.token_urlsafe(24), True
