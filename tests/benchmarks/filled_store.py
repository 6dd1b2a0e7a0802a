"""A store as many runs leave it, filled without making anything: keys, records, names and journals are what
those runs would have written; the shards say nothing, and in a folder they are hard links to a few files."""

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flows.configuration import load
from flows.listeners import Namer
from flows.planning import refuse_early
from flows.web_to_model import WebToModel, web_to_model
from pipeline.config import Config
from pipeline.corpus.pages import Pages
from pipeline.store import Artifact, Attempt, File, Made, PlanningStore, Record, ShardRecord, Storage, Work
from pipeline.store.artifacts import RECORD
from pipeline.store.discard import DELIVERED, RUNS
from pipeline.store.records import InputOf, commit, digest_of, dump, versions
from pipeline.tokens.vocabulary import Vocabulary
from tests.benchmarks.measure import note
from tests.road import CONFIG

A = TypeVar("A", bound=Artifact)

ATTEMPT, HEX = "20260101-000000-0a1b2c", "0a1b2c"
"""The same everywhere, so that a shard has the same record in all artifacts."""
BEGAN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SHARD_BYTES = 1_000
FIGURES = {Vocabulary.stage: {"bytes_per_token": 4.0}}
"""That a plan asks for."""
TRIALS = 2
"""Runs of one name. They differ in what they train, and the last one's models have the names."""
NAMES_PER_CRAWL = 2
OVERTAKEN_EVERY, UNFINISHED_EVERY = 20, 100
"""Of so many artifacts one has an attempt that another overtook; beside so many lies one that was begun."""
UPLOADS = 16
"""At a time, to an object store."""
NOTED_EVERY = 1_000


def settings_of(run: int) -> list[str]:
    """What a run has otherwise than tests/road.toml, as `--set` takes it. Every second name has a crawl of
    its own, every name a vocabulary, every run trainings."""
    name = run // TRIALS
    return [
        f'name="run-{name:05}"',
        f"crawl.max_pages={1_000 + name // NAMES_PER_CRAWL}",
        f"vocabulary.pieces={1_024 + name}",
        f"pretrain.steps={60 + run % TRIALS}",
    ]


@dataclass
class Shards:
    """The same for every artifact: a folder for each shard with one file, and its record."""

    count: int
    pool: Path
    """A folder on the store's file system, for the files that shards are links to."""
    known: dict[str, tuple[dict[str, File], dict[str, bytes]]] = field(default_factory=dict)
    pooled: set[str] = field(default_factory=set)
    """Paths in the pool that have their file."""

    def write(self, storage: Storage, base: str, kind: str) -> dict[str, File]:
        """The files of all shards by logical name, which begins with `kind`."""
        if kind not in self.known:
            self.known[kind] = self._made(kind)
        files, wanted = self.known[kind]
        if storage.is_local:
            self._link(storage.full(base), wanted)
        else:
            with ThreadPoolExecutor(UPLOADS) as pool:
                list(pool.map(lambda path: storage.replace(f"{base}/{path}", wanted[path]), wanted))
        return files

    def _made(self, kind: str) -> tuple[dict[str, File], dict[str, bytes]]:
        """The same, and all bytes by path in the artifact's folder."""
        files: dict[str, File] = {}
        wanted: dict[str, bytes] = {}
        for identity in (f"{number:05}" for number in range(self.count)):
            name, data = f"{kind}/{identity}.parquet", identity.encode() * (SHARD_BYTES // len(identity))
            path = f"attempts/{ATTEMPT}/{kind}/{identity}-{HEX}/{identity}.parquet"
            files[name] = File(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            record = ShardRecord(identity=identity, files={name: files[name]}, counts={})
            wanted |= {path: data, f"shards/{kind}/{identity}.json": dump(record)}
        return files, wanted

    def _link(self, folder: str, wanted: Mapping[str, bytes]) -> None:
        for path, data in wanted.items():
            source, target = f"{self.pool}/{path}", f"{folder}/{path}"
            if path not in self.pooled:
                os.makedirs(os.path.dirname(source), exist_ok=True)
                Path(source).write_bytes(data)
                self.pooled.add(path)
            try:
                os.link(source, target)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(target))
                os.link(source, target)


class FillingStore(PlanningStore):
    """Publishes for each stage of a flow the record that it would have."""

    def __init__(self, root: str, shards: Shards) -> None:
        super().__init__(root)
        self.shards = shards
        self.artifacts = self.runs = 0
        """That it has."""

    def run(self, number: int) -> None:
        """Go through the whole flow as a plan does; its names and its journal are written as by a run."""
        settings = [*settings_of(number), f"compute.store={json.dumps(self.storage.root)}"]
        config = load(WebToModel, CONFIG, settings)
        self.listeners = [Namer(self, config.name)]
        refuse_early(lambda given, store, compute: web_to_model(given, self, compute), config)
        told = {"time": BEGAN.timestamp(), "kind": "flow", "command": f"moinho run {CONFIG}"}
        journal = f"{RUNS}/{ATTEMPT}-{number:05}"
        self.storage.replace(f"{journal}/events-0.jsonl", json.dumps(told).encode() + b"\n")
        self.storage.replace(f"{journal}/{DELIVERED}", b"{}")
        self.runs += 1

    def _obtain(
        self,
        artifact: A,
        config: Config,
        inputs: Mapping[str, Artifact],
        build: Callable[[Attempt], Made],
        content: Mapping[str, str],
        work: Callable[[], Work] | None,
    ) -> A:
        if not artifact.exists():
            with self.claim_lock(artifact.base):
                self._publish(artifact, config, inputs, content, work() if work else {})
        self._tell(lambda listener: listener.reused(artifact))
        return artifact

    def _publish(
        self,
        artifact: Artifact,
        config: Config,
        inputs: Mapping[str, Artifact],
        content: Mapping[str, str],
        counts: Work,
    ) -> None:
        files = self.shards.write(
            self.storage, artifact.base, "frontier" if artifact.stage == Pages.stage else "kept"
        )
        record = Record(
            stage=artifact.stage,
            revision=artifact.revision,
            key=artifact.key,
            identity=config.identity(),
            config=config.resolved(),
            inputs={
                name: InputOf(stage=given.stage, key=given.key, digest=given.record.digest)
                for name, given in inputs.items()
            },
            content=dict(content),
            counts={name: int(count) for name, count in counts.items()},
            figures=FIGURES.get(artifact.stage, {}),
            files=files,
            digest=digest_of(files),
            compute={},
            attempt=ATTEMPT,
            started=(BEGAN + datetime.timedelta(seconds=self.artifacts)).isoformat(timespec="seconds"),
            seconds=1.0,
            commit=commit(),
            versions=versions(),
        )
        self.storage.create(f"{artifact.base}/{RECORD}", dump(record))
        self.artifacts += 1
        self._leave_behind(artifact)

    def _leave_behind(self, artifact: Artifact) -> None:
        """What attempts leave that were killed."""
        if self.artifacts % OVERTAKEN_EVERY == 0:
            self.storage.replace(f"{artifact.base}/attempts/overtaken/half.parquet", b"half")
        if self.artifacts % UNFINISHED_EVERY == 0:
            self.shards.write(self.storage, f"{artifact.stage}/{artifact.key[::-1]}", "kept")
        if self.artifacts % NOTED_EVERY == 0:
            note(f"{self.artifacts:,} artifacts")


def fill(root: str, artifacts: int, shards: Shards) -> FillingStore:
    """A store with what the first runs left that there were, until they had made so many artifacts."""
    store = FillingStore(root, shards)
    while store.artifacts < artifacts:
        store.run(store.runs)
    return store
