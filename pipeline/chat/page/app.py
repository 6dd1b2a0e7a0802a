"""The page of `moinho chat --web`: people talk with models, choose between answers, and look inside.

It answers to its own addresses alone: a page of the web that a browser is led to cannot speak with it (DNS
rebinding, requests across origins). Who somebody is it does not ask.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from pipeline.alignment.ballots import Ballot, BallotBox, BallotError
from pipeline.chat.answering import Message, Part, RefusedError, Server, begun
from pipeline.chat.page.looks import Look, Looked
from pipeline.corpus.text_index import NotToBeFoundError
from pipeline.errors import InputError
from pipeline.evaluation.insight.attention import NoAttentionError
from pipeline.evaluation.insight.spelled import NothingToLookAtError
from pipeline.models.generation import document_end, encode, stop_ids
from pipeline.training.pretrain import BaseModel as PretrainedModel

HERE = Path(__file__).parent
FILES = (
    *("page.css", "icon.svg", "thumb.svg", "texts.json"),
    *("page.js", "words.js", "server.js", "outbox.js", "chat.js", "voting.js", "compare.js", "look.js"),
)
HEADERS = {
    # What the page may load: its own files.
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
CODES: dict[type[InputError], tuple[int, str]] = {
    BallotError: (409, "conflict"),
    NothingToLookAtError: (400, "nothing_to_look_at"),
    NoAttentionError: (400, "no_attention"),
    NotToBeFoundError: (400, "nothing_to_find"),
}
"""Status and code of what a user may do wrong; the page has words for the codes."""


@dataclass(frozen=True)
class Shown:
    """A model on the page."""

    server: Server
    look: Look
    identity: str
    """Name and key, as a vote tells whose answer it was."""
    stage: str = ""
    """What made it; empty of a folder."""

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def chats(self) -> bool:
        """A pretrained model's tokenizer has a template too, but the model has learned no turns."""
        template = getattr(self.server.tokenizer, "chat_template", None)
        return bool(template) and self.stage != PretrainedModel.stage

    def told(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "chats": self.chats,
            "stage": self.stage,
            "context": self.server.engine.context,
        }


Where = Callable[[str], list[dict[str, Any]]]
"""From a text to the training documents that have most of it: url, text (what they share), characters."""


class Asked(BaseModel):
    """A conversation that a model is to go on with."""

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_tokens: int = Field(default=128, ge=1)


def page_app(
    models: Sequence[Shown],
    box: BallotBox,
    hosts: Sequence[str],
    where: Where | None = None,
    beside: str = "",
) -> FastAPI:
    """The first of `models` is the one that is talked with at first; `beside` the one that its answers stand
    beside, if two are asked for; `hosts` the addresses (host:port) that the page may be called by."""
    app = FastAPI(title="moinho", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_engines(models))
    app.add_middleware(Guard, hosts=hosts)
    _errors(app)
    _files(app)

    @app.get("/api/state")
    async def state() -> dict[str, Any]:
        return {
            "models": [each.told() for each in models],
            "chosen": models[0].name,
            "beside": beside,
            "box": box.name,
            "traces": where is not None,
        }

    @app.post("/api/answer", response_model=None)
    async def answer(asked: Asked) -> StreamingResponse:
        model = _named(models, asked.model)
        server = model.server
        prompt, stop = _prompt(model, asked.messages)
        most = min(asked.max_tokens, server.limits.max_tokens)
        parts = await begun(
            server.answer(prompt, server.sampling(asked.temperature, 1.0, prompt, most), stop)
        )
        return StreamingResponse(_events(parts, model.identity), media_type="text/event-stream")

    @app.post("/api/votes", status_code=201)
    async def vote(ballot: Ballot) -> dict[str, bool]:
        # In a thread: an object store may let us wait.
        return {"new": await asyncio.to_thread(box.put, ballot)}

    @app.post("/api/look/{kind}")
    async def look(
        kind: Literal["next", "attention", "without", "similar", "near", "where"], asked: Looked
    ) -> dict[str, Any]:
        model = _named(models, asked.model)
        if kind != "where":
            return await asyncio.to_thread(model.look.at, kind, asked)
        if where is None:
            raise RefusedError(404, "these models' training text is not in the store", "no_text")
        return {"places": await asyncio.to_thread(where, asked.text)}

    return app


class Guard:
    """Lets nobody in who came by another address or from another page, and adds the headers of HEADERS."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)
        self.origins = {None, *(f"http://{host}" for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(event: Event) -> None:
            if event["type"] == "http.response.start":
                MutableHeaders(scope=event).update(HEADERS)
            await send(event)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope)
        if given.get("host") in self.hosts and given.get("origin") in self.origins:
            await self.app(scope, receive, guarded)
            return
        refused = RefusedError(403, f"this page answers to {', '.join(sorted(self.hosts))}", "wrong_host")
        await JSONResponse(refused.body(), refused.status)(scope, receive, guarded)


def _files(app: FastAPI) -> None:
    @app.get("/")
    async def index() -> FileResponse:
        return FileResponse(HERE / "index.html")

    @app.get("/page/{name}")
    async def file(name: str) -> FileResponse:
        if name not in FILES:
            raise RefusedError(404, f"there is no {name} here", "not_found")
        return FileResponse(HERE / name)


def _named(models: Sequence[Shown], name: str) -> Shown:
    for model in models:
        if model.name == name:
            return model
    raise RefusedError(404, f"there is no model {name!r} on this page", "model_not_found")


def _engines(models: Sequence[Shown]) -> Callable[[FastAPI], Any]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for model in models:
            model.server.engine.start()
        try:
            yield
        finally:
            for model in models:
                model.server.engine.stop()

    return lifespan


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        return JSONResponse(error.body(), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        told = f"{place}: {first['msg']}" if place else str(first["msg"])
        return await refused(request, RefusedError(400, told, "invalid_request", place or None))

    @app.exception_handler(InputError)
    async def wrong(request: Request, error: InputError) -> JSONResponse:
        status, code = CODES.get(type(error), (400, "invalid_request"))
        return await refused(request, RefusedError(status, str(error), code))


def _prompt(model: Shown, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Ids, and what ends the answer. A model that has learned no turns goes on with their text: a question
    and its answer below each other, with an empty line after them."""
    tokenizer = model.server.tokenizer
    if model.chats:
        return model.server.chat_prompt(messages), stop_ids(tokenizer)
    after = {"user": "\n", "assistant": "\n\n"}
    ends = [after.get(each.role, "\n\n") for each in messages[:-1]]
    text = "".join(each.content + end for each, end in zip(messages, [*ends, ""], strict=True))
    return encode(tokenizer, text), document_end(tokenizer)


async def _events(parts: AsyncGenerator[Part, None], identity: str) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(parts):
        try:
            async for part in parts:
                told = {"text": part.text, "reason": part.reason, "as": identity}
                yield f"data: {json.dumps(told, ensure_ascii=False)}\n\n"
        except RefusedError as error:
            yield f"data: {json.dumps(error.body())}\n\n"
