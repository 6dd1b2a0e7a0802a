"""The store of a run whose stages overlap: what does not hang on each other is made side by side."""

import concurrent.futures
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from pipeline.config import Config
from pipeline.store.artifacts import Artifact, Expected
from pipeline.store.faults import faults_told
from pipeline.store.records import Record
from pipeline.store.store import Attempt, Listener, Made, Store, Work

A = TypeVar("A", bound=Artifact)


class OverlappingStore(Store):
    """Makes each stage in a thread of its own, as soon as what it is made from is there.

    `make` comes back at once: the key needs no output, and the record is waited for where it is read.
    How many stages really work at a time is decided by what the cluster has room for. A stage that fails
    ends those that hang on it and no others: what is at work goes on to its end.
    """

    def __init__(self, root: str, listeners: Sequence[Listener] = ()) -> None:
        super().__init__(root, listeners)
        self._stages: list[Future[Record]] = []

    def _obtain(
        self,
        artifact: A,
        config: Config,
        inputs: Mapping[str, Artifact],
        build: Callable[[Attempt], Made],
        content: Mapping[str, str],
        work: Callable[[], Work] | None,
    ) -> A:
        if artifact.exists() and all(given.pending is None for given in inputs.values()):
            return super()._obtain(artifact, config, inputs, build, content, work)
        artifact.expected = Expected({}, config.resolved())
        made: Future[Record] = Future()
        artifact.pending = made
        self._stages.append(made)

        def make() -> None:
            # The same artifact by another name: it does not wait for itself.
            other = type(artifact)(self.storage, artifact.key)
            try:
                for given in inputs.values():
                    given.exists()
                with faults_told(self.storage.local("")):
                    super(OverlappingStore, self)._obtain(other, config, inputs, build, content, work)
            except BaseException as error:
                made.set_exception(error)
            else:
                made.set_result(other.record)

        threading.Thread(target=make, daemon=True, name=artifact.stage).start()
        return artifact

    def settle(self) -> None:
        """Wait until every stage has ended. Raises what the first of them raised that failed."""
        concurrent.futures.wait(self._stages)
        for made in self._stages:
            made.result()
