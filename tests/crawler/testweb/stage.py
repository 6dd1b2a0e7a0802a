"""The crawl's stage in a process of its own: `python -m tests.crawler.testweb.stage SPEC`.

SPEC is a JSON file: `store`, the fields of `crawl` and of `compute`, and a short folder for Ray. The
process writes where the artifact's files lie to `artifact` and ends; `start` and `finish` are for its
parent. A session of its own lets everything that belongs to it be found and killed.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.crawl import CrawlConfig, crawl
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.store import Store
from tests.crawler.testweb.judge import Crawled, read_crawl
from tests.crawler.testweb.server import Web
from tests.road import Run

AGENT = "moinho/test"
CONTACT = "https://crawler.example/"


@dataclass(frozen=True)
class Stage:
    """A crawl that can be started, killed and started again."""

    folder: Path
    crawl: Mapping[str, Any]
    """Fields of CrawlConfig."""
    compute: Mapping[str, Any]
    """Fields of ComputeConfig, without the store."""
    environment: Mapping[str, str]
    ray_folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self) -> Run:
        self.folder.mkdir(parents=True, exist_ok=True)
        spec, output = self.folder / "spec.json", self.folder / "output.txt"
        ray = tempfile.mkdtemp(dir=self.ray_folder)
        said = {"crawl": self.crawl, "compute": {**self.compute, "store": str(self.store)}, "ray": ray}
        spec.write_text(json.dumps(said))
        with output.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.crawler.testweb.stage", str(spec)],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | self.environment,
            )
        return Run(process, output)

    def finish(self, timeout_seconds: float = 280) -> Crawled:
        """Run it to its end, which must be a good one; what it left behind."""
        run = self.start()
        assert run.wait(timeout_seconds) == 0, run.text()[-3000:]
        return self.crawled()

    def crawled(self) -> Crawled:
        made = json.loads((self.folder / "artifact.json").read_text())
        return read_crawl(map(Path, made["warcs"]), map(Path, made["logs"]))

    def warcs(self) -> list[Path]:
        return [Path(path) for path in json.loads((self.folder / "artifact.json").read_text())["warcs"]]


@contextlib.contextmanager
def stage_for(
    web: Web, folder: Path, compute: Mapping[str, Any] | None = None, **crawl: Any
) -> Iterator[Stage]:
    """A crawl of all of the web that is served, politeness off unless `crawl` says otherwise."""
    fields = {"seeds": web.seeds, "user_agent": AGENT, "contact": CONTACT, "delay_seconds": 0.0, **crawl}
    environment = {}
    if web.certificates is not None:
        environment["SSL_CERT_FILE"] = str(web.certificates.authority)
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as ray:
        yield Stage(folder, fields, {"hosts": web.places, **(compute or {})}, environment, Path(ray))


def main(spec_path: Path) -> None:
    spec = json.loads(spec_path.read_text())
    compute = Compute(ComputeConfig(**spec["compute"]), temp_dir=spec["ray"])
    try:
        pages = crawl(Store(spec["compute"]["store"]), None, CrawlConfig(**spec["crawl"]), compute)
    finally:
        compute.stop()
    made = {
        "warcs": [str(path) for path in pages.paths("warc/")],
        "logs": [str(path) for path in pages.paths("crawl-log/")],
        "counts": pages.record.counts,
    }
    (spec_path.parent / "artifact.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
