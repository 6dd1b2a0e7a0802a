"""A configuration is recorded in many places, so none is loaded that holds a secret."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.corpus.personal.credentials import ISSUED, blocks
from pipeline.credentials import SecretInSettingError, secret_in_address, secret_in_text

KeyPath = tuple[str, ...]
INSTEAD: Mapping[KeyPath, str] = {
    ("compute", "mlflow"): "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in its place, or for a "
    "database the whole address as MLFLOW_TRACKING_URI",
    ("compute", "store"): "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its place, or write them to "
    "~/.aws/credentials",
}
"""What to do about a secret in this setting."""
ELSEWHERE = (
    "give it by an environment variable or a file (HF_TOKEN for the hub, ~/.netrc for other web servers), "
    "or fetch first what the address leads to, and name the file"
)


def refuse_secrets(values: Mapping[str, Any], source: Callable[[KeyPath], str]) -> None:
    """Raises SecretInSettingError for the first text among the values that holds a secret: the password of
    an address, or a key in the form of its issuer. `source` tells where a key was set."""
    for keys, text in _texts(values):
        found = secret_in_address(text) or _key_in(text)
        if found is not None:
            raise _error(source(keys), keys, found)


def refuse_secret_setting(setting: str) -> None:
    """The same of what was given by `--set`, before anything else is said of it."""
    found = secret_in_text(setting) or _key_in(setting)
    if found is not None:
        key, equals, _ = setting.partition("=")
        raise _error("--set", tuple(part.strip() for part in key.split(".")) if equals else (), found)


def _error(where: str, keys: KeyPath, found: str) -> SecretInSettingError:
    if where.startswith("--set "):  # with all that was typed
        where = "--set"
    return SecretInSettingError(
        f"{where}: {'.'.join(keys) or 'it'} holds {found}, and configurations are recorded; take it out and "
        f"{INSTEAD.get(keys, ELSEWHERE)}"
    )


def _key_in(text: str) -> str | None:
    if any(next(find(text), None) for find in ISSUED):
        return "a key or a token"
    return "a private key" if next(blocks(text), None) else None


def _texts(value: Any, keys: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*keys, str(name)))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, keys)
