"""Ballot boxes: votes that people gave on a page, each kept as it was given, before anybody counts them.

A vote is an object of its own, `votes/<box>/<id>.json`, published by exclusive create: several servers may
fill one box, and a vote that is sent twice, because its answer was lost, is there once.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.store import Artifact, Attempt, Made, Storage, Store
from pipeline.store.storage import side_by_side

VOTES = "votes"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ROWS, BALLOTS = "votes.jsonl", "ballots.jsonl"
MOST_CHARACTERS = 100_000
"""Of a text in a vote."""
FORMS = {"choice": (("a", "b", "tie"), 2), "thumb": (("up", "down"), 1), "edit": (("edited",), 1)}
"""Of each kind of vote the votes that there are, and how many answers it is about."""


class BallotError(InputError):
    """A box of that name is not there or cannot be, what lies in it is no vote, or two different votes came
    under one id."""

    remedy = "Name a box that `moinho votes` lists; look into the file, if the message names one."


class Turn(BaseModel):
    """A message before the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MOST_CHARACTERS)


class Answered(BaseModel):
    """An answer that was voted on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(max_length=MOST_CHARACTERS)
    model: str = Field(max_length=200)
    """Who gave it: a name and the key of an artifact, such as quickstart/chat@1f2e…"""
    ended: bool = True
    """False of one that was cut off at the greatest length."""


class Ballot(BaseModel):
    """One vote, as a page sends it: which of two answers is better, whether one is good, or a better one.

    What could not be learned from later, as a prompt that ends with an answer, is refused here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f-]{8,40}$")
    """The page's own, made when the vote was given."""
    kind: Literal["choice", "thumb", "edit"]
    prompt: tuple[Turn, ...] = Field(min_length=1, max_length=1000)
    """Messages before the answer."""
    answers: tuple[Answered, ...] = Field(min_length=1, max_length=2)
    """Two to choose from; one that was judged or bettered."""
    vote: Literal["a", "b", "tie", "up", "down", "edited"]
    better: str | None = Field(default=None, max_length=MOST_CHARACTERS)
    """The answer as the voter would have it."""
    voter: str = Field(min_length=1, max_length=60)
    """A pseudonym."""
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """From the first words of the answer, or of the later one, to the vote."""
    language: str = Field(default="", max_length=10)
    """Of the page."""

    @model_validator(mode="after")
    def vote_fits_its_kind(self) -> Self:
        votes, answers = FORMS[self.kind]
        if self.vote not in votes or len(self.answers) != answers:
            raise ValueError(
                f"a {self.kind} is about {answers} of the answers and is {' or '.join(votes)}; found "
                f"{self.vote} about {len(self.answers)}"
            )
        if (self.better is not None) != (self.kind == "edit"):
            raise ValueError("an edit has a better answer, and no other vote has one")
        return self

    @model_validator(mode="after")
    def can_be_learned_from(self) -> Self:
        from pipeline.alignment.forms import read_votes

        try:
            read_votes([(1, self.row())], "the vote")
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def row(self) -> dict[str, Any]:
        """In one of the forms of forms.py."""
        known = {"prompt": [turn.model_dump() for turn in self.prompt], "voter": self.voter}
        more = {"seconds": self.seconds, "language": self.language or None}
        names, judged = self._judged()
        texts = {name: answer.text for name, answer in zip(names, self.answers, strict=True)}
        cut = {
            "ended" if name == "answer" else f"{name}_ended": False
            for name, answer in zip(names, self.answers, strict=True)
            if not answer.ended
        }
        return (
            known | {name: value for name, value in more.items() if value is not None} | texts | cut | judged
        )

    def _judged(self) -> tuple[list[str], dict[str, Any]]:
        """What the form calls the answers, and the vote itself."""
        if self.kind == "choice":
            return ["answer_a", "answer_b"], {"vote": self.vote}
        if self.kind == "edit":
            return ["rejected"], {"chosen": self.better}
        return ["answer"], {"score": 1 if self.vote == "up" else 0}


class BallotBox:
    """The votes of one name in a store."""

    def __init__(self, storage: Storage, name: str) -> None:
        if not NAME.fullmatch(name):
            raise BallotError(f"{name!r} is no name for votes: letters, digits, _ . and - are allowed")
        self.storage, self.name = storage, name

    def put(self, ballot: Ballot) -> bool:
        """Keep a vote; it is in the store when this returns. False if it was there already.

        Raises BallotError if another vote has its id.
        """
        told = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")} | ballot.model_dump(mode="json")
        name = f"{ballot.id}.json"
        data = json.dumps(told, ensure_ascii=False, indent=1).encode()
        if self.storage.create(f"{VOTES}/{self.name}/{name}", data):
            return True
        if self._read(name) != ballot:
            raise BallotError(f"another vote has the id {ballot.id}; give each an id of its own")
        return False

    def ballots(self) -> list[Ballot]:
        """Every vote, by id. Raises BallotError."""
        return list(side_by_side(self.storage, self._read, self._names()))

    def count(self) -> int:
        """How many votes there are."""
        return len(self._names())

    def _names(self) -> list[str]:
        return sorted(name for name in self.storage.list(f"{VOTES}/{self.name}") if name.endswith(".json"))

    def rows(self) -> Iterator[bytes]:
        """A line of JSON for each vote, by id, as a file of preferences has them. Raises BallotError."""
        yield from map(_line, self.ballots())

    def _read(self, name: str) -> Ballot:
        path = f"{VOTES}/{self.name}/{name}"
        try:
            told: dict[str, Any] = json.loads(self.storage.read(path))
            del told["at"]
            return Ballot.model_validate(told)
        except (ValueError, KeyError, TypeError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise BallotError(f"{path} in {self.storage.address} is no vote: {why}") from error


def boxes(storage: Storage) -> list[str]:
    """Names of all boxes."""
    return sorted(storage.list(VOTES))


def known_box(storage: Storage, name: str) -> BallotBox:
    """Raises BallotError if nobody has voted there."""
    if name not in (there := boxes(storage)):
        told = ", ".join(there) or "none in this store"
        raise BallotError(
            f"nobody has voted in {name!r}; there is: {told}. `moinho chat MODEL --web` collects votes"
        )
    return BallotBox(storage, name)


class Votes(Artifact):
    """Every vote that a box had when they were gathered: `ballots.jsonl` as they were given, `votes.jsonl` in
    the forms of forms.py."""

    stage, role, revision = "gather-votes", "votes", 1

    def ballots(self) -> list[Ballot]:
        """Every vote, by id."""
        lines = self.path(BALLOTS).read_bytes().splitlines()
        return [Ballot.model_validate_json(line) for line in lines]


class VotesSettings(Config):
    """What of a box is gathered: all."""


def gather_votes(store: Store, name: str) -> Votes:
    """The votes of a box as an artifact, known by their content. Raises BallotError if there is none."""
    ballots = known_box(store.storage, name).ballots()
    given = b"".join(ballot.model_dump_json().encode() + b"\n" for ballot in ballots)
    build = partial(_gathered, ballots=ballots, given=given)
    return store.make(Votes, VotesSettings(), {}, build, content={"votes": hashlib.sha256(given).hexdigest()})


def _gathered(attempt: Attempt, ballots: list[Ballot], given: bytes) -> Made:
    files = {BALLOTS: given, ROWS: b"".join(map(_line, ballots))}
    for name, data in files.items():
        attempt.path(name).write_bytes(data)
    counts = {"votes": len(ballots), "voters": len({ballot.voter for ballot in ballots})}
    return Made({name: attempt.publish(attempt.path(name)) for name in files}, counts)


def _line(ballot: Ballot) -> bytes:
    return json.dumps(ballot.row(), ensure_ascii=False).encode() + b"\n"
