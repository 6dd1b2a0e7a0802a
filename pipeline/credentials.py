"""Secrets come by the environment or by a file, and go nowhere else.

What is recorded (configurations, keys, records, runs in MLflow) may hold none, so addresses with a password
are refused where they come in. What is written by others, such as a library's message, loses the secrets
that it repeats.
"""

import logging
import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from pipeline.errors import InputError

_NAMED = re.compile(r"(SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIALS?|CONNECTION_STRING|_KEY)\Z", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"(?<=://)(?P<user>[^\s/?#@:]*):(?P<word>[^\s/?#]+)@")
_IN_TEXT = re.compile(r"(?<=://)[^\s/?#@:\"'<>]*:[^\s/?#\"'<>]+@")
_PARAMETERS = frozenset(
    {
        *("password", "passwd", "pwd", "secret", "client_secret", "token", "access_token", "auth_token"),
        *("api_key", "apikey", "key_secret"),
        *("x-amz-signature", "x-amz-security-token", "x-goog-signature", "sig"),  # addresses that are signed
    }
)
LEAST_CHARACTERS = 6
"""A shorter value is not looked for: it would be found in any text."""
HIDDEN = "***"


class SecretInSettingError(InputError):
    """A secret stands where it would be recorded: in a configuration, in `--set`, or in an address."""

    remedy = (
        "Take it out there, and give it by the environment: MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the file "
        "~/.aws/credentials), HF_TOKEN; for other web servers by ~/.netrc. Replace what others have seen."
    )


def secret_in_address(address: str) -> str | None:
    """What of an address is a secret, in words that do not repeat it; None if nothing is."""
    if _IN_ADDRESS.search(address):
        return "a password before the @"
    if "://" not in address:
        return None
    for name, value in parse_qsl(address.partition("?")[2].partition("#")[0]):
        if value and name.lower() in _PARAMETERS:
            return f"the parameter {name}"
    return None


def secret_in_text(text: str) -> str | None:
    """The same of any text, in which what stands around an address is none of it."""
    return "a password before the @" if _IN_TEXT.search(text) else None


def require_no_secret(address: str, where: str, instead: str) -> None:
    """Raises SecretInSettingError, with `instead` as what to do."""
    found = secret_in_address(address)
    if found is not None:
        raise SecretInSettingError(
            f"{where} is {shown(address)}, with {found}, and addresses are recorded; {instead}"
        )


def shown(address: str) -> str:
    """An address as it may be told: without user, password and parameters."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HIDDEN
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def secrets_of(environment: Mapping[str, str]) -> set[str]:
    """The values of the variables that are named like a secret, and the passwords in addresses among all."""
    named = {value for name, value in environment.items() if _NAMED.search(name)}
    inside = {match["word"] for value in environment.values() for match in _IN_ADDRESS.finditer(value)}
    return {value for value in named | inside if len(value) >= LEAST_CHARACTERS}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that reads what strangers wrote, and needs no secret for that."""
    return {
        name: value
        for name, value in environment.items()
        if not _NAMED.search(name) and not _IN_ADDRESS.search(value)
    }


def hidden(text: str) -> str:
    """The text without the secrets of this process's environment, and without passwords in addresses."""
    for secret in sorted(secrets_of(os.environ), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
        text = text.replace(quote(secret, safe=""), HIDDEN)
    return _IN_TEXT.sub(f"{HIDDEN}@", text)


class HidingFormatter(logging.Formatter):
    """Formats a log's lines, tracebacks included, without the secrets of this process's environment."""

    def format(self, record: logging.LogRecord) -> str:
        return hidden(super().format(record))
