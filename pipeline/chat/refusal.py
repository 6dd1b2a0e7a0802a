"""Answers that are errors, as OpenAI's clients read them."""

from typing import Any


def error_body(status: int, told: str, code: str, param: str | None = None) -> dict[str, Any]:
    """What a client is sent as JSON; `param` is the setting that is at fault."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": told, "type": kind, "param": param, "code": code}}
