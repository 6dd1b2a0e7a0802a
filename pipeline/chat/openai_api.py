"""A model behind the interface that OpenAI's clients speak: chat and text completions, streamed or whole."""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from pipeline.chat.answering import RETRY_AFTER_SECONDS, Part, RefusedError, Server, begun
from pipeline.chat.openai_forms import Asked, ChatAsked, ChatForm, Form, TextAsked, TextForm
from pipeline.models.generation import document_end, stop_ids


def openai_api(server: Server) -> FastAPI:
    """The web application of one server."""
    app = FastAPI(title="moinho", docs_url=None, redoc_url=None, openapi_url=None)
    add_errors(app)
    add_routes(app, server)
    return app


def add_errors(app: FastAPI) -> None:
    """Errors in the interface's form."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status == 429 else None
        return JSONResponse(error.body(), error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return await refused(request, RefusedError(400, f"{place}: {first['msg']}", "invalid_request", place))

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> JSONResponse:
        told = f"{request.method} {request.url.path}: {error.detail}; see docs/serving.md for what there is"
        return await refused(request, RefusedError(error.status_code, told, "not_found"))


def add_routes(app: FastAPI, server: Server) -> None:
    """The interface's routes."""

    def check_key(request: Request) -> None:
        server.check_key(request.headers.get("authorization", "").removeprefix("Bearer ").strip())

    guarded = [Depends(check_key)]

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": server.name}

    @app.get("/v1/models", dependencies=guarded)
    async def models() -> dict[str, Any]:
        one = {"id": server.name, "object": "model", "created": server.since, "owned_by": "moinho"}
        return {"object": "list", "data": [one]}

    @app.post("/v1/chat/completions", dependencies=guarded, response_model=None)
    async def chat(asked: ChatAsked) -> Any:
        _check(server, asked)
        prompt = server.chat_prompt(asked.messages)
        sampling = server.sampling(
            asked.temperature, asked.top_p, prompt, asked.max_completion_tokens or asked.max_tokens
        )
        form = ChatForm(server.name, len(prompt))
        parts = server.answer(prompt, sampling, stop_ids(server.tokenizer), asked.stops)
        return await _answered(parts, asked, form)

    @app.post("/v1/completions", dependencies=guarded, response_model=None)
    async def complete(asked: TextAsked) -> Any:
        _check(server, asked)
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if len(prompts) != 1:
            raise RefusedError(
                400,
                f"prompt has {len(prompts)} texts; one at a time is gone on with",
                "unsupported_parameter",
                "prompt",
            )
        prompt = server.text_prompt(prompts[0])
        sampling = server.sampling(asked.temperature, asked.top_p, prompt, asked.max_tokens, "prompt")
        form = TextForm(server.name, len(prompt), prompts[0] if asked.echo else "")
        parts = server.answer(prompt, sampling, document_end(server.tokenizer), asked.stops)
        return await _answered(parts, asked, form)


def _check(server: Server, asked: Asked) -> None:
    """Raises RefusedError for another model, and for a setting that is not heeded."""
    if asked.model not in ("", server.name):
        told = f"there is no model {asked.model!r} here; there is {server.name!r}"
        raise RefusedError(404, told, "model_not_found", "model")
    if (refused := asked.refused()) is not None:
        raise RefusedError(400, refused[1], "unsupported_parameter", refused[0])


async def _answered(parts: AsyncGenerator[Part, None], asked: Asked, form: Form) -> Any:
    """The whole answer, or its parts as they come."""
    parts = await begun(parts)
    if asked.stream:
        return StreamingResponse(_streamed(parts, form, asked.tells_usage), media_type="text/event-stream")
    text = ""
    async with contextlib.aclosing(parts):
        async for last in parts:
            text += last.text
    return form.whole(text, last)


async def _streamed(
    parts: AsyncGenerator[Part, None], form: Form, tells_usage: bool
) -> AsyncGenerator[str, None]:
    """Server-sent events (WHATWG HTML, 9.2). Whoever hangs up ends the text."""
    async with contextlib.aclosing(parts):
        for event in form.begin():
            yield _event(event)
        try:
            async for part in parts:
                yield _event(form.part(part))
        except RefusedError as error:
            yield _event(error.body())
            return
        if tells_usage:
            yield _event(form.usage(part.used))
        yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
