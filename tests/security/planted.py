"""Secrets in all ways that a user can give one, and a search for them in everything that was written."""

import base64
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

BY_ENVIRONMENT = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "RAY_AUTH_TOKEN",
    "HF_TOKEN",
)


def planted_environment() -> dict[str, str]:
    """Every variable with a secret of its own, and a proxy whose address has a password."""
    found = {name: f"planted{secrets.token_hex(16)}" for name in BY_ENVIRONMENT}
    found["HTTPS_PROXY"] = f"http://ana:planted{secrets.token_hex(16)}@127.0.0.1:9"
    return found


def secrets_in(environment: Mapping[str, str]) -> set[str]:
    return {value.rpartition("@")[0].rpartition(":")[2] or value for value in environment.values()}


def files_with(secret_texts: Iterable[str], *folders: Path) -> list[tuple[Path, str]]:
    """Files below the folders in which a secret stands: as it is, quoted for an address, or in base64."""
    wanted = [(secret, form) for secret in secret_texts for form in _forms(secret)]
    found = []
    for folder in folders:
        for top, _, names in os.walk(folder):
            for path in (Path(top, name) for name in names):
                if path.is_file():
                    content = path.read_bytes()
                    found += [(path, secret) for secret, form in wanted if form in content]
    return found


def _forms(secret: str) -> list[bytes]:
    return [secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode()).rstrip(b"=")]
