"""What the stage tells the child process of one partition."""

from dataclasses import dataclass

FRONTIER = "frontier.sqlite"
"""The frontier's file in the partition's folder."""


@dataclass(frozen=True)
class Options:
    """All that the child process needs to know."""

    folder: str
    """Scratch folder of this partition: the frontier, and `warc/` with the archive."""
    partition: str
    seeds: list[str]
    allowed_hosts: list[str]
    user_agent: str
    max_pages: int
    max_depth: int | None
    max_seconds: float | None
    delay_seconds: float
    requests_per_host: int
    requests: int
    timeout_seconds: float
    max_bytes: int
    content_types: list[str]
    hosts: dict[str, str]
    private_hosts: list[str]
