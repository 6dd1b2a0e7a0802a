"""A configuration is recorded in many places, so none is loaded that holds a secret."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.corpus.personal.credentials import ISSUED, blocks
from pipeline.credentials import SecretInSettingError, secret_in_address

KeyPath = tuple[str, ...]
INSTEAD = {
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
        _require_none(text, keys, source(keys))


def refuse_secret_setting(setting: str) -> None:
    """The same of what was given by `--set`, before anything else is said of it."""
    key, _, text = setting.partition("=")
    _require_none(text, tuple(part.strip() for part in key.split(".")), "--set")


def _require_none(text: str, keys: KeyPath, where: str) -> None:
    found = secret_in(text)
    if found is not None:
        raise SecretInSettingError(
            f"{where}: {'.'.join(keys)} holds {found}, and configurations are recorded; take it out and "
            f"{INSTEAD.get(keys, ELSEWHERE)}"
        )


def secret_in(text: str) -> str | None:
    """What of a text is a secret, in words that do not repeat it; None if nothing is."""
    found = secret_in_address(text)
    if found is not None:
        return found
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
