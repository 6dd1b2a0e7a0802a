"""Extraction beside a crawl that goes on: what a round has archived is read while the next one runs.

Its shards have the identities that the extraction after the crawl gives them, which therefore finds them
finished and does only what is left. Nothing hangs on it: what it does not do, or cannot, is done then.
"""

import logging
import queue
import threading
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from pipeline.compute import Compute
from pipeline.corpus.extract import PAGES_PER_SHARD, ExtractConfig, RawDocuments
from pipeline.corpus.extract_shards import Slice, read_slice, slices_of
from pipeline.corpus.pages import STORED, Archive, entry_of
from pipeline.store import Attempt, File

log = logging.getLogger(__name__)

ROUNDS_BEHIND = 2
"""Rounds of which the pages wait to be read at most; then the crawl waits."""


class ExtractionAhead:
    """Reads WARC files as they are offered, in the order in which they come."""

    def __init__(self, raw: RawDocuments, config: ExtractConfig, compute: Compute) -> None:
        self.config, self.compute = config, compute
        self.attempt = Attempt.begin(raw)
        self._seen: set[str] = set()
        self._waiting: queue.Queue[dict[str, Slice] | None] = queue.Queue(maxsize=ROUNDS_BEHIND)
        self._thread = threading.Thread(target=self._read, daemon=True, name="extract ahead")
        self._thread.start()

    def offer(
        self, crawl: Attempt, warcs: Mapping[str, File], log_lines: Iterable[Mapping[str, Any]]
    ) -> None:
        """What a round has archived: all WARC files until now, and the log as it stands. Comes back as soon
        as the pages wait with those of `ROUNDS_BEHIND` rounds at most."""
        new = {name: file for name, file in warcs.items() if name not in self._seen}
        self._seen |= set(new)
        lines = (line for line in log_lines if line["outcome"] in STORED and line["warc"] in new)
        entries = sorted(
            (entry_of(dict(line), crawl.key) for line in lines),
            key=lambda entry: (entry.warc, entry.offset, entry.url),
        )
        found: dict[str, Slice] = {}
        for warc, group in groupby(entries, key=lambda entry: entry.warc):
            archive = Archive(crawl.storage, crawl.base, new[warc])
            found |= slices_of(warc, archive, group, self.config, PAGES_PER_SHARD)
        if not found:
            return
        if self._waiting.full():
            crawl.journal("ahead").beginning("waiting for extraction, which is behind")
        self._waiting.put(found)

    def close(self) -> None:
        """Comes back when all that was offered has been read."""
        self._waiting.put(None)
        self._thread.join()

    def _read(self) -> None:
        while (slices := self._waiting.get()) is not None:
            try:
                self.compute.map_shards(self.attempt, "read", slices, read_slice, tells=False)
            except BaseException as error:  # also a stop: the thread has nobody to tell
                log.warning("extraction ahead: %s: %s", type(error).__name__, error)
