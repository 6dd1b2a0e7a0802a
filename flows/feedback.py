"""Rounds of feedback: people vote, a model learns from that, and answers beside the champion for new votes.

What a round begins with is written down before it trains: one that is killed goes on with the same votes, and
two drivers hold the same round.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from flows.assistant import align
from flows.endings import EXIT_DONE, EXIT_STOPPED
from flows.references import find_artifact
from flows.run import run_for
from flows.stop_signals import StopSignals
from flows.web_to_model import WebToModel, web_to_chat
from pipeline.alignment.ballots import BallotBox, Votes, gather_votes
from pipeline.alignment.rounds import PICTURE, FeedbackConfig, Round, hold_round
from pipeline.compute import Compute
from pipeline.errors import InputError
from pipeline.models.model import Model
from pipeline.store import Artifact, Storage, Store

if TYPE_CHECKING:
    from fastapi import FastAPI

ROUNDS = "rounds"
METHODS = ("dpo", "grpo", "rloo", "ppo")
POLL_SECONDS = 1.0

A = TypeVar("A", bound=Artifact)


class FeedbackSettingsError(InputError):
    """A configuration does not say where votes are, or by which one method a model learns from them."""

    remedy = 'Set preferences.source = "votes:NAME" and one section of dpo, grpo, rloo and ppo.'


class NoNewVotesError(InputError):
    """A round was to begin with the votes that are there, and there is none since the last one."""

    remedy = "Open the page with `moinho chat MODEL --web --votes NAME`, vote, and try again."


@dataclass(frozen=True)
class Beginning:
    """What a round begins with, each as `stage/key`."""

    votes: str
    champion: str
    challenger: str | None
    before: str | None


@dataclass(frozen=True)
class State:
    """Which models there are after a round, each as `stage/key`; at first a chat model alone."""

    champion: str
    challenger: str | None = None
    round: str | None = None


@dataclass(frozen=True)
class Held:
    """A round that was held."""

    round: Round
    champion: Model
    challenger: Model


@dataclass(frozen=True)
class Asked:
    """What `moinho feedback` was asked for."""

    rounds: int
    port: int | None
    """None shows no page."""
    wait: bool


class Rounds:
    """What is known of the rounds of one name, in the store at `rounds/<name>/`."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage, self.folder = storage, f"{ROUNDS}/{name}"

    def latest(self) -> int | None:
        """The number of the last round that has begun; 0 is the chat model's making. None if nothing has."""
        numbers = [int(name.partition("-")[0]) for name in self.storage.list(self.folder)]
        return max(numbers, default=None)

    def begin(self, number: int, beginning: Beginning) -> Beginning:
        """Write down what the round begins with; what another driver wrote before counts."""
        self.storage.create(f"{self.folder}/{number:04}-begun.json", _bytes(asdict(beginning)))
        return self.begun(number)

    def begun(self, number: int) -> Beginning:
        return Beginning(**json.loads(self.storage.read(f"{self.folder}/{number:04}-begun.json")))

    def call_off(self, number: int) -> None:
        """Its votes are not enough: it will begin with more."""
        self.storage.remove(f"{self.folder}/{number:04}-begun.json")

    def end(self, number: int, state: State) -> None:
        self.storage.create(f"{self.folder}/{number:04}-done.json", _bytes(asdict(state)))

    def done(self, number: int) -> State | None:
        path = f"{self.folder}/{number:04}-done.json"
        return State(**json.loads(self.storage.read(path))) if self.storage.exists(path) else None


def one_round(config: WebToModel, store: Store, compute: Compute, beginning: Beginning) -> Held:
    """Count the votes on champion and challenger, then train the next challenger from the one who won, by all
    the votes."""
    made = web_to_chat(config, store, compute)
    votes, champion = _found(store, beginning.votes, Votes), _found(store, beginning.champion, Model)
    challenger = _found(store, beginning.challenger, Model) if beginning.challenger is not None else None
    before = _found(store, beginning.before, Round) if beginning.before is not None else None
    held = hold_round(store, votes, champion, challenger, before, config.feedback or FeedbackConfig())
    winner = held.winner(champion, challenger)
    (learned,) = align(config, store, winner, made.conversations, compute, votes).models
    return Held(held, winner, learned)


def box_of(config: WebToModel) -> str:
    """Where the votes are. Raises FeedbackSettingsError."""
    box = config.preferences.box if config.preferences is not None else None
    if box is None:
        found = "no section [preferences]"
        if config.preferences is not None:
            found = f'preferences.source = "{config.preferences.source}"'
        raise FeedbackSettingsError(
            f'there is {found}, and feedback comes from votes: set preferences.source = "votes:{config.name}"'
        )
    methods = [name for name in METHODS if getattr(config, name) is not None]
    if len(methods) != 1:
        raise FeedbackSettingsError(
            f"a round trains one challenger, and of {', '.join(METHODS)} there is "
            f"{' and '.join(methods) or 'none'}: let one of these sections be there"
        )
    return box


def feedback(config: WebToModel, config_path: Path, again: str, console: Console, asked: Asked) -> int:
    """Hold so many rounds; one that was begun and not ended is the first of them. Returns the exit code as
    `moinho run` does. Raises FeedbackSettingsError, NoNewVotesError, and what opening the page raises."""
    loop = _Loop(config, config_path, again, console, asked, box_of(config))
    number, left = loop.rounds.latest() or 0, asked.rounds
    if loop.rounds.done(number) is None:
        if code := loop.hold(number) if number else loop.make_chat():
            return code
        left -= 1 if number else 0
    for following in range(number + 1, number + 1 + left):
        if code := loop.collect_and_hold(following):
            return code
    loop.tell_next()
    return EXIT_DONE


class _Loop:
    """What all rounds of a run share."""

    def __init__(
        self,
        config: WebToModel,
        config_path: Path,
        again: str,
        console: Console,
        asked: Asked,
        box: str,
    ) -> None:
        self.config, self.config_path, self.again = config, config_path, again
        self.console, self.asked = console, asked
        self.store = Store(config.compute.store)
        self.rounds = Rounds(self.store.storage, config.name)
        self.box = BallotBox(self.store.storage, box)

    def make_chat(self) -> int:
        """The first champion. Returns the exit code."""
        way = "as far as the chat model"
        code, made = run_for(web_to_chat, way, self.config, self.config_path, self.again, self.console)
        if made is not None:
            self.rounds.end(0, State(made.chat.base))
        return code

    def collect_and_hold(self, number: int) -> int:
        """A new round. The page is there until the next challenger is. Returns the exit code."""
        state = self.rounds.done(number - 1)
        assert state is not None
        with self._page(state):
            try:
                with StopSignals():
                    self._collect(state)
            except KeyboardInterrupt:
                self.console.print(
                    f"\nStopped. Votes stay in the store; to go on: [bold]{escape(self.again)}[/bold]",
                    soft_wrap=True,
                )
                return EXIT_STOPPED
            votes = gather_votes(self.store, self.box.name)
            self.rounds.begin(number, Beginning(votes.base, state.champion, state.challenger, state.round))
            return self.hold(number)

    def hold(self, number: int) -> int:
        """What is left to do of a round that has begun. Returns the exit code."""
        flow, way = partial(one_round, beginning=self.rounds.begun(number)), f"round {number} of feedback"
        code, held = run_for(flow, way, self.config, self.config_path, self.again, self.console)
        if held is None:
            if code == InputError.exit_code:
                self.rounds.call_off(number)
            return code
        self.rounds.end(number, State(held.champion.base, held.challenger.base, held.round.base))
        self._tell(held, number)
        return code

    def tell_next(self) -> None:
        """How to go on."""
        name = self.config.name
        self.console.print(
            f"next: [bold]{escape(self.again)}[/bold], or vote only: moinho chat {name}/challenger --web "
            f"--beside {name}/champion --votes {self.box.name}",
            soft_wrap=True,
        )

    def _collect(self, state: State) -> None:
        """Wait until there are votes enough."""
        known = 0
        if state.round is not None:
            known = int(_found(self.store, state.round, Round).record.counts["votes"])
        if not self.asked.wait:
            if self.box.count() <= known:
                raise NoNewVotesError(
                    f"there are {known} votes in the box {self.box.name}, and none since the last round"
                )
            return
        wanted = (self.config.feedback or FeedbackConfig()).votes
        self.console.print(f"waiting for {wanted} new votes in the box {self.box.name}")
        columns = (TextColumn("votes"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("votes", total=wanted)
            while (new := self.box.count() - known) < wanted:
                progress.update(task, completed=new)
                time.sleep(POLL_SECONDS)

    @contextlib.contextmanager
    def _page(self, state: State) -> Iterator[None]:
        """Challenger and champion on the page, as long as the block lasts."""
        port = self.asked.port
        if port is None:
            yield
            return
        from flows.people import HOST, page_of
        from pipeline.tracking.destination import require_free

        require_free(HOST, port)
        shown = [each for each in (state.challenger, state.champion) if each is not None]
        app = page_of(self.store, shown[0], shown[1:], self.box.name, port, self.console)
        self.console.print(f"vote at http://{HOST}:{port}", soft_wrap=True)
        with _served(app, HOST, port):
            yield

    def _tell(self, held: Held, number: int) -> None:
        """Who won, and why; both get names."""
        self.store.name(f"{self.config.name}/champion", held.champion)
        self.store.name(f"{self.config.name}/challenger", held.challenger)
        verdict = held.round.verdicts()[-1]
        told = "the challenger is the champion now" if verdict.promoted else "the champion stays"
        self.console.print(
            f"[bold]round {number}[/bold]: {told}: {escape(verdict.why)}\n"
            f"The champion is rated {verdict.rating:+.0f} Elo points above the first model; "
            f"{held.round.path(PICTURE)} shows all rounds.",
            soft_wrap=True,
        )


@contextlib.contextmanager
def _served(app: "FastAPI", host: str, port: int) -> Iterator[None]:
    """In a thread: it ends with this process, however that ends."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host, port, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _found(store: Store, base: str, kind: type[A]) -> A:
    """What was written down as `stage/key`."""
    found = find_artifact(store, base)
    assert isinstance(found, kind)
    return found


def _bytes(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()
