"""What a crawl's rounds have archived is extracted while it goes on, and nothing else comes out for that."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crawler.crawl import CrawlConfig, crawl
from pipeline.compute_config import ComputeConfig
from pipeline.corpus.extract import ExtractConfig, RawDocuments, extract, raw_documents
from pipeline.corpus.extract_ahead import ROUNDS_BEHIND, ExtractionAhead
from pipeline.corpus.pages import Pages
from pipeline.shards import ShardFunction
from pipeline.store import Attempt, File, ShardRecord, Store
from tests.corpus.conftest import InThisProcess
from tests.crawler.web import page, serve

CONFIG = ExtractConfig(shards=2)
PAGES = 24


def crawled(store: Store, web: Any, here: InThisProcess, ahead: bool) -> RawDocuments:
    config = CrawlConfig(
        seeds=("http://mill.example/",), private_hosts=("127.0.0.1",), delay_seconds=0, requests_per_host=1
    )

    def beside(pages: Pages) -> ExtractionAhead:
        return ExtractionAhead(raw_documents(store, pages, None, CONFIG), CONFIG, here)

    pages = crawl(store, None, config, here, beside if ahead else None)
    assert pages.record.counts["pages"] == PAGES + 1
    return raw_documents(store, pages, None, CONFIG)


def shards_of(raw: RawDocuments) -> list[str]:
    return raw.storage.list(f"{raw.base}/shards/read")


def test_pages_are_read_between_the_rounds_and_the_documents_are_the_same(tmp_path: Path) -> None:
    names = [f"/{number}" for number in range(PAGES)]
    site = {"/": page(*names)} | {name: page(text=f"The mill grinds {name} sacks.") for name in names}
    found = []
    with serve(site, pause_seconds=0.1) as web:
        hosts = {"mill.example": f"127.0.0.1:{web.port}"}
        for ahead in (True, False):
            here = InThisProcess(
                ComputeConfig(crawl_processes=1, crawl_round_seconds=0.6, hosts=hosts, overlap=True)
            )
            store = Store(str(tmp_path / f"store-{ahead}"))
            raw = crawled(store, web, here, ahead)
            before = shards_of(raw)
            pages = Pages(store.storage, next(r.key for r in store.records() if r.stage == Pages.stage))
            made = extract(store, pages, None, CONFIG, here)
            assert made.key == raw.key
            found.append((made.record.digest, len(before), shards_of(made) == before))
    (digest, parts, all_were_there), (plain, none, _) = found
    assert digest == plain
    assert (none, all_were_there) == (0, True)
    assert parts > 1, "there were several rounds, each with files of its own"


class Held(InThisProcess):
    """A cluster that has no room for a while."""

    def __init__(self) -> None:
        super().__init__(ComputeConfig())
        self.room, self.read = threading.Event(), []

    def map_shards(
        self, attempt: Attempt, step: str, shards: Mapping[str, Any], function: ShardFunction, **_: Any
    ) -> list[ShardRecord]:
        self.room.wait(20)
        self.read += shards
        return []


def line(number: int, outcome: str = "page") -> dict[str, Any]:
    place = {"warc": f"warc/{number}.warc.gz", "offset": 7, "length": 9, "content_type": None}
    return {"url": f"http://mill.example/{number}", "outcome": outcome, **place}


@pytest.mark.timeout(60)
def test_a_crawl_waits_where_extraction_is_too_far_behind(store: Store) -> None:
    here, raw = Held(), RawDocuments(store.storage, "key")
    crawl_attempt, ahead = Attempt(store.storage, "crawl", "key", "one"), ExtractionAhead(raw, CONFIG, here)
    warcs: dict[str, File] = {}
    lines: list[dict[str, Any]] = []
    offered: list[int] = []

    def rounds() -> None:
        for number in range(ROUNDS_BEHIND + 3):
            warcs[f"warc/{number}.warc.gz"] = File(path="x", bytes=1, sha256="0")
            lines.extend([line(number), line(number + 100, "robots")])
            ahead.offer(crawl_attempt, dict(warcs), list(lines))
            offered.append(number)

    thread = threading.Thread(target=rounds)
    thread.start()
    thread.join(2)
    assert len(offered) == ROUNDS_BEHIND + 1, "one is being read, as many as may wait do"
    here.room.set()
    thread.join(20)
    ahead.close()
    assert len(here.read) == ROUNDS_BEHIND + 3, "each once, and none that was not stored"
