"""Why a crawl ended without a page, said so that one can do something about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import StageError

BROKEN = frozenset(
    {"broken-chunks", "wrong-length", "broken-compression", "broken-http", "no-answer", "tls-error"}
)
"""Outcomes of answers that could not be understood."""
UNREACHED = BROKEN | {"unreachable", "timeout", "error", "robots-unreachable"}
"""Outcomes that may be others at another time."""
TOLD_SEEDS = 10
"""Seeds that an error message names."""


class UnreachableError(StageError):
    """None of the seeds could be reached."""

    remedy = "Check addresses and network, then run again."


class RefusedAddressError(StageError):
    """The seeds' names lead to addresses that are not on the open internet."""

    passes = False
    remedy = "Name these hosts in crawl.private_hosts if the addresses are meant, or choose other seeds."


class ForbiddenError(StageError):
    """robots.txt forbids all seeds."""

    passes = False
    remedy = "Choose pages that the site lets crawlers fetch."


class NoPagesError(StageError):
    """Seeds answered, but not one page could be stored."""

    passes = False
    remedy = "Choose other seeds, or widen crawl.content_types."


def no_page_error(
    lines: Sequence[Mapping[str, Any]], user_agent: str, content_types: Sequence[str]
) -> StageError:
    """Why a crawl has no page, from the lines of its log."""
    outcomes = {line["outcome"] for line in lines}
    reasons = "; ".join(
        f"{line['url']}: {line['outcome']}"
        + (
            f" ({line['detail']})"
            if line["detail"]
            else f" (status {line['status']})"
            if line["status"]
            else ""
        )
        for line in sorted(lines, key=lambda line: line["depth"])[:TOLD_SEEDS]
    )
    if outcomes == {"refused-address"}:
        return RefusedAddressError(
            f"no seed lies on the open internet: {reasons}. Name the hosts in crawl.private_hosts if these "
            "addresses are meant"
        )
    if outcomes <= UNREACHED | {"refused-address"}:
        advice = "look whether the addresses are right and the network is up"
        if "refused-address" in outcomes:
            advice += "; name a host in crawl.private_hosts if its private address is meant"
        return UnreachableError(f"no seed could be reached: {reasons}. To continue, {advice}, and run again")
    if "robots" in outcomes and outcomes <= {"robots", "robots-unreachable", "redirect"}:
        return ForbiddenError(
            f"robots.txt forbids all seeds: {reasons}. Choose pages that {user_agent} may fetch"
        )
    return NoPagesError(
        f"{len(lines)} URLs were tried and gave no page: {reasons}. "
        f"Pages are what answers 200 with {' or '.join(content_types)}; choose other seeds"
    )
