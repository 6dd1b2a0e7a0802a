"""Crawled pages without a crawler, and a cluster of one: tasks run one after the other, in this process."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.corpus.pages import Pages
from pipeline.shards import ShardFunction, run_shard
from pipeline.store import Attempt, Made, ShardRecord, Store


@dataclass(frozen=True)
class WebPage:
    url: str
    body: bytes
    content_type: str = "text/html; charset=utf-8"


MakePages = Callable[..., Pages]


class Crawled(Config):
    """Stands in for a crawl's configuration."""

    name: str


class InThisProcess(Compute):
    """Does what a cluster does, without one; beside it each stage is tested on Ray itself."""

    def map_shards(
        self,
        attempt: Attempt,
        step: str,
        shards: Mapping[str, Any],
        function: ShardFunction,
        *,
        cpus: float = 1,
        beside_driver: bool = False,
        tells: bool = True,
    ) -> list[ShardRecord]:
        return [
            attempt.finished_shard(step, identity) or run_shard(attempt, step, identity, payload, function)
            for identity, payload in shards.items()
        ]


@pytest.fixture
def here() -> Compute:
    return InThisProcess(ComputeConfig())


@pytest.fixture
def make_pages(store: Store) -> MakePages:
    """make_pages(pages, warcs=1, name="…"), as `pages_in` this test's store."""
    return partial(pages_in, store)


def pages_in(store: Store, pages: Sequence[WebPage], warcs: int = 1, name: str = "pages") -> Pages:
    """The pages in so many WARC files, in the order given."""

    def build(attempt: Attempt) -> Made:
        for number in range(warcs):
            _write_warc(attempt, number, pages[number::warcs])
        return Made(
            files=attempt.publish_folder("warc") | attempt.publish_folder("crawl-log"),
            counts={"pages": len(pages)},
        )

    return store.make(Pages, Crawled(name=name), {}, build)


def _write_warc(attempt: Attempt, number: int, pages: Sequence[WebPage]) -> None:
    warc = f"warc/{number:05d}.warc.gz"
    lines = []
    with attempt.path(warc).open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for page in pages:
            offset = file.tell()
            headers = StatusAndHeaders("200 OK", [("Content-Type", page.content_type)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    page.url, "response", payload=io.BytesIO(page.body), http_headers=headers
                )
            )
            lines.append(
                {
                    "url": page.url,
                    "outcome": "page",
                    "warc": warc,
                    "offset": offset,
                    "length": file.tell() - offset,
                    "content_type": page.content_type,
                }
            )
    log = attempt.path(f"crawl-log/{number:05d}.jsonl")
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
