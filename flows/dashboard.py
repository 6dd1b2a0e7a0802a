"""The way to a Ray cluster: the address of its dashboard, the token, and what may go wrong on the way."""

import os
import re
from typing import Any, NoReturn
from urllib.parse import urlsplit

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from pipeline.errors import InputError, MoinhoError

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
RAISED = re.compile(r"^(?:[\w.]+: )?[\w.]*(?:Error|Exception): .")
"""How the line of a traceback begins that says what was wrong."""


class AddressError(InputError):
    """The address is not that of a Ray cluster's dashboard."""

    remedy = "Give the dashboard's address, such as http://127.0.0.1:8265."


class TokenError(InputError):
    """The cluster wants a token, and there is none, or another."""

    remedy = "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the cluster's own."


class UnknownJobError(InputError):
    """The cluster knows no job of this name."""

    remedy = "Use an id that `moinho jobs` shows."


class ClusterUnreachableError(MoinhoError):
    """Nothing answers at the address, or not any more."""

    remedy = (
        "Look whether the cluster runs and whether its dashboard can be reached from here; "
        "`infra/machines/start-node.sh head 127.0.0.1` starts one on this machine, with a token: whoever "
        "reaches its dashboard runs programs there."
    )


class RequestRefusedError(MoinhoError):
    """The cluster understood what was asked, and did not do it."""

    remedy = "Read what the cluster answered, which the message repeats."


class Cluster(JobSubmissionClient):
    """Ray's client for jobs. It waits for an answer for a limited time, and tells a fault in one line."""

    def __init__(self, address: str) -> None:
        self.dashboard = _checked(address)
        # Ray lets this variable win over what its client is given, and the user gave the address to us.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.dashboard
        try:
            super().__init__(self.dashboard)
        except AuthenticationError as error:
            raise self._token_error(error) from None
        except (RuntimeError, ValueError, KeyError, requests.RequestException) as error:
            raise AddressError(
                f"{self.dashboard} answers, but not as the dashboard of a Ray cluster does "
                f"({first_line(error)}); give the address of its dashboard, such as http://HOST:8265"
            ) from None

    def versions(self) -> dict[str, str]:
        """Those of Python and Ray that the cluster's head runs with; empty if it does not tell."""
        answer = self._do_request("GET", "/api/v0/cluster_metadata")
        if answer.status_code != requests.codes.ok:
            return {}
        told = answer.json().get("data", {})
        found = {"python": told.get("pythonVersion"), "ray": told.get("rayVersion")}
        return {name: version for name, version in found.items() if version}

    def _do_request(self, method: str, endpoint: str, **given: Any) -> requests.Response:
        try:
            return super()._do_request(method, endpoint, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), **given)
        except AuthenticationError as error:
            raise self._token_error(error) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ClusterUnreachableError(
                f"no Ray cluster answers at {self.dashboard} ({reason(error)}); look whether it runs, if "
                "this machine can reach it, and if that is its dashboard's port, or give another with "
                "--address http://HOST:8265; to start one here: infra/machines/start-node.sh head 127.0.0.1 "
                "(without a cluster: moinho run)"
            ) from None

    def _raise_error(self, answer: requests.Response) -> NoReturn:
        if answer.status_code == requests.codes.not_found:
            raise UnknownJobError(f"{self.dashboard}: {first_line(answer.text)}; `moinho jobs` lists them")
        raise RequestRefusedError(
            f"{self.dashboard} answered with status {answer.status_code}: {_fault(answer.text)}"
        )

    def _token_error(self, error: Exception) -> TokenError:
        told = first_line(error).partition(". ")[0]
        return TokenError(
            f"{self.dashboard}: {told}. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH (a file) or "
            "RAY_AUTH_TOKEN to the token that the cluster was started with"
        )


def _checked(address: str) -> str:
    """The address without what a browser puts behind it. Raises AddressError."""
    try:
        parts = urlsplit(address)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise AddressError(
            f"{address!r} is not the address of a Ray cluster's dashboard{_lacks(address)}; "
            "give one with --address, such as http://127.0.0.1:8265"
        )
    return parts._replace(query="", fragment="").geturl().rstrip("/")


def _lacks(address: str) -> str:
    """What is wrong with it, where that can be told."""
    if address.startswith("ray://"):
        return ": ray:// is the port of Ray's client, and the dashboard's (mostly 8265) is meant, by http://"
    host, _, port = address.partition("/")[0].rpartition(":")
    return f": http:// is missing, write http://{address}" if host and port.isdigit() else ""


def first_line(told: object) -> str:
    return next((line.strip() for line in str(told).splitlines() if line.strip()), type(told).__name__)


def _fault(told: str) -> str:
    """One line: of a traceback the innermost exception, which is the last that it names."""
    return next((line for line in reversed(told.splitlines()) if RAISED.match(line)), first_line(told))


def reason(error: BaseException) -> str:
    """What the system said, from below the wrappers of requests and urllib3."""
    while error.__context__ is not None:
        error = error.__context__
    told = getattr(error, "strerror", None) or str(error)
    return told if told and told.isprintable() else type(error).__name__
