"""What Ray Serve's proxy answers of its own accord, in the form of the interface.

It speaks plain text where no replica can be had, where one died before it had answered, and where the time is
up. What replicas answer passes as it is. An answer of which parts are sent already just breaks off.
"""

import json
from typing import Any

from starlette.middleware import Middleware

from pipeline.chat.refusal import error_body

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Where Ray Serve's proxies read what they are wrapped in."""
CALLBACK = f"{__name__}.middlewares"
RETRY_AFTER_SECONDS = 5


def middlewares() -> list[Middleware]:
    """Called by each proxy at its start."""
    return [Middleware(InOurForm)]


class InOurForm:
    """A proxy (ASGI) whose own errors are JSON."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passes, own_status = False, 503

        async def pass_on(message: Any) -> None:
            nonlocal passes, own_status
            if message["type"] == "http.response.start":
                passes = not _is_own_error(message)
                own_status = message["status"]
            if passes:
                await send(message)

        await self.app(scope, receive, pass_on)
        if not passes:
            await _send_error(own_status, send)


def _is_own_error(start: Any) -> bool:
    """Whether Ray Serve wrote it: replicas write their errors as JSON."""
    kind = dict(start.get("headers", ())).get(b"content-type", b"")
    return bool(start["status"] >= 400 and not kind.startswith(b"application/json"))


async def _send_error(status: int, send: Any) -> None:
    if status == 408:
        body = error_body(504, "no answer was there in the time that is given here", "timeout")
        status, headers = 504, []
    else:
        body = error_body(
            503,
            f"the model is not there: it is being started, or its process ended; come back in "
            f"{RETRY_AFTER_SECONDS} s",
            "model_unavailable",
        )
        status, headers = 503, [(b"retry-after", str(RETRY_AFTER_SECONDS).encode())]
    sent = json.dumps(body).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(sent)).encode()),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sent})
