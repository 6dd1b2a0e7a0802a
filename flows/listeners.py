"""What listens to a store while a run makes things in it: names, the summary's memory, the stages' logs."""

import contextlib
import logging
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from pipeline.credentials import HidingFormatter, hidden
from pipeline.store import Artifact, Attempt, NoRoomError, NotWritableError, Store, Work


class Quiet:
    """A listener of the store that does nothing yet; a base for those that care about some events."""

    def planned(self, artifact: Artifact, work: Work) -> None: ...
    def reused(self, artifact: Artifact) -> None: ...
    def waiting(self, artifact: Artifact) -> None: ...
    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None: ...
    def finished(self, artifact: Artifact) -> None: ...
    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None: ...


class Namer(Quiet):
    """Lets `<flow>/<role>` point to each artifact as soon as it is there."""

    def __init__(self, store: Store, flow: str) -> None:
        self.store, self.flow = store, flow
        self.fault: str | None = None
        """Why names could not be given; what they would point to is there all the same."""

    def reused(self, artifact: Artifact) -> None:
        try:
            self.store.name(f"{self.flow}/{artifact.role}", artifact)
        except (NoRoomError, NotWritableError) as error:
            self.fault = f"not all names {self.flow}/… could be given: {error}"

    finished = reused


class History(Quiet):
    """Remembers what became of each stage, for the summary."""

    def __init__(self) -> None:
        self.stages: list[tuple[Artifact, bool]] = []
        """Artifacts in the order of the flow, and whether each was made in this run."""
        self.broken: tuple[Artifact, Attempt] | None = None

    def reused(self, artifact: Artifact) -> None:
        self.stages.append((artifact, False))

    def finished(self, artifact: Artifact) -> None:
        self.stages.append((artifact, True))

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self.broken = (artifact, attempt)


class StageLog(Quiet):
    """Writes what all libraries log while a stage is made to the log of its attempt.

    Of several stages that are made at once, each in a thread of its own, none gets what the others' threads
    log; what a library logs in a thread of its own stands in the logs of all.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, logging.FileHandler] = {}
        """By the artifact that is being made."""
        self.threads: dict[str, int] = {}
        logging.raiseExceptions = False  # a full disk is told by the stage, not by each line of its log

    def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
        handler = logging.FileHandler(attempt.path("log.txt"), delay=True, encoding="utf-8")
        handler.setFormatter(HidingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        own = threading.get_ident()
        handler.addFilter(lambda line: line.thread == own or line.thread not in self.threads.values())
        logging.getLogger().addHandler(handler)
        self.handlers[artifact.base], self.threads[artifact.base] = handler, own

    def finished(self, artifact: Artifact) -> None:
        self._close(artifact)

    def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
        self._close(artifact)
        with contextlib.suppress(OSError):  # the error itself must be heard of, with or without its log
            path = attempt.path("log.txt")
            with path.open("a", encoding="utf-8") as file:
                file.write(hidden("".join(traceback.format_exception(error))))
            attempt.storage.upload(path, attempt.log)

    def _close(self, artifact: Artifact) -> None:
        handler = self.handlers.pop(artifact.base)
        self.threads.pop(artifact.base)
        logging.getLogger().removeHandler(handler)
        handler.close()
