"""A round of feedback: what votes say of the newest model, and whether it takes the champion's place.

The champion is the model that won last, the challenger the one that was trained since. They answer side by
side, and nobody who chooses is told which is which.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from pipeline.alignment.ballots import Ballot, Votes
from pipeline.config import Config
from pipeline.models.model import Model
from pipeline.store import Artifact, Attempt, Made, Store

VERDICT, PICTURE = "verdict.json", "rounds.png"
ELO = 400 / np.log(10)
"""Elo points in a natural logarithm of the odds."""
DRAWS = 1.0
"""Between any two models, so many games are thought of that ended in a draw: where one has won them all, it
is not infinitely better."""
ITERATIONS = 1000

M = TypeVar("M", bound=Model)


class FeedbackConfig(Config):
    """When a round has votes enough, and when a challenger has won."""

    votes: int = Field(default=50, ge=1)
    """New ones that a round waits for before it trains."""
    least_choices: int = Field(default=20, ge=1)
    """Between champion and challenger; with fewer the champion stays."""
    margin: float = Field(default=0.05, ge=0, lt=0.5)
    """By how much more than half of the choices the challenger has to win, ties counted as halves."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """That the challenger wins more than half: one-sided, of an exact binomial test without the ties."""

    def identity(self) -> dict[str, Any]:
        """How long a round waits decides nothing that it makes."""
        values = super().identity()
        values.pop("votes", None)
        return values


@dataclass(frozen=True)
class Verdict:
    """What the choices between two models came to."""

    number: int
    """Of the round, from 1."""
    champion: str
    """`stage/key` of the model that answers from now on."""
    promoted: bool
    """Whether that is the challenger."""
    why: str
    won: int = 0
    """Choices for the challenger."""
    lost: int = 0
    tied: int = 0
    rate: float = 0.5
    """The challenger's share, ties counted as halves."""
    confidence: float = 0.0
    """That it wins more than half."""
    rating: float = 0.0
    """Of the champion, in Elo points above the first model, by all votes of the box."""
    votes: int = 0
    """In the box."""

    def metrics(self) -> dict[str, float]:
        """What is drawn over the rounds."""
        return {
            "rating": self.rating,
            "win_rate": self.rate,
            "confidence": self.confidence,
            "promoted": float(self.promoted),
            "votes": float(self.votes),
        }


class Round(Artifact):
    """`verdict.json`, with those of the rounds before, and a picture of them."""

    stage, role, revision = "round", "round", 1

    def verdicts(self) -> list[Verdict]:
        """Of all rounds until this one."""
        return [Verdict(**told) for told in json.loads(self.path(VERDICT).read_bytes())["rounds"]]

    def winner(self, champion: M, challenger: M | None) -> M:
        """Which of the two answers from now on; in a plan the challenger."""
        if challenger is None:
            return champion
        if not self.exists():
            return challenger
        return challenger if self.verdicts()[-1].promoted else champion


def hold_round(
    store: Store,
    votes: Votes,
    champion: Model,
    challenger: Model | None,
    before: Round | None,
    config: FeedbackConfig,
) -> Round:
    """Count the votes. In the first round there is neither a challenger nor a round before."""
    inputs: Mapping[str, Artifact | None] = {
        "votes": votes,
        "champion": champion,
        "challenger": challenger,
        "before": before,
    }
    build = partial(
        _held, votes=votes, champion=champion, challenger=challenger, before=before, config=config
    )
    return store.make(Round, config, inputs, build)


def judge(
    ballots: Sequence[Ballot], champion: Model, challenger: Model | None, number: int, config: FeedbackConfig
) -> Verdict:
    """Whether the challenger has won by the margin, with confidence; and if not, why not."""
    from scipy.stats import binomtest  # which takes half a second that other commands need not wait for

    if challenger is None:
        return Verdict(number, champion.base, False, "there is no challenger yet", votes=len(ballots))
    counted = Counter(_result(ballot, champion.key, challenger.key) for ballot in ballots)
    won, lost, tied = counted["won"], counted["lost"], counted["tied"]
    choices, decided = won + lost + tied, won + lost
    rate = (won + tied / 2) / choices if choices else 0.5
    sure = 1 - float(binomtest(won, decided, 0.5, "greater").pvalue) if decided else 0.0
    found = Verdict(number, champion.base, False, "", won, lost, tied, rate, sure, 0.0, len(ballots))
    told = f"it won {won}, lost {lost} and tied {tied}, {rate:.0%} of {choices}"
    if choices < config.least_choices:
        why = (
            f"there are {choices} choices between it and the champion, and {config.least_choices} are needed"
        )
    elif rate < 0.5 + config.margin:
        why = f"{told}; {0.5 + config.margin:.0%} are needed"
    elif sure < config.confidence:
        why = f"{told}, which is more than half with {sure:.1%} confidence; {config.confidence:.0%} is needed"
    else:
        why = f"{told}, which is more than half with {sure:.1%} confidence"
        return replace(found, champion=challenger.base, promoted=True, why=why)
    return replace(found, why=why)


def ratings(ballots: Iterable[Ballot], first: str) -> dict[str, float]:
    """Elo points of each model (by its key) above the first, by the model of Bradley and Terry (1952).

    Fitted by minorization (Hunter, 2004); a tie is half a win for both.
    """
    wins: dict[tuple[str, str], float] = defaultdict(float)
    for ballot in ballots:
        keys = [_key(answer.model) for answer in ballot.answers]
        if len(set(keys)) == 2:
            share = {"a": 1.0, "b": 0.0}.get(ballot.vote, 0.5)
            wins[keys[0], keys[1]] += share
            wins[keys[1], keys[0]] += 1 - share
    names = sorted({first, *(key for pair in wins for key in pair)})
    won_NN = np.array([[wins[one, other] for other in names] for one in names]) + DRAWS / 2
    np.fill_diagonal(won_NN, 0.0)
    games_NN = won_NN + won_NN.T
    strength_N = np.ones(len(names))
    for _ in range(ITERATIONS if len(names) > 1 else 0):
        strength_N = won_NN.sum(1) / (games_NN / (strength_N[:, None] + strength_N)).sum(1)
        strength_N /= np.exp(np.log(strength_N).mean())
    points_N = ELO * np.log(strength_N)
    return {name: float(points_N[at] - points_N[names.index(first)]) for at, name in enumerate(names)}


def _held(
    attempt: Attempt,
    votes: Votes,
    champion: Model,
    challenger: Model | None,
    before: Round | None,
    config: FeedbackConfig,
) -> Made:
    from pipeline.alignment.rounds_plot import plot_rounds

    ballots, earlier = votes.ballots(), before.verdicts() if before is not None else []
    found = judge(ballots, champion, challenger, len(earlier) + 1, config)
    first = earlier[0].champion if earlier else found.champion
    points = ratings(ballots, _key(first))
    verdicts = [*earlier, replace(found, rating=points.get(_key(found.champion), 0.0))]
    journal = attempt.journal("rounds")
    for each in verdicts:
        journal.metrics(each.number, **each.metrics())
    attempt.path(VERDICT).write_text(
        json.dumps({"rounds": [asdict(each) for each in verdicts], "ratings": points}, indent=1)
    )
    plot_rounds(verdicts, attempt.path(PICTURE))
    files = {name: attempt.publish(attempt.path(name)) for name in (VERDICT, PICTURE)}
    counts = {"round": found.number, "votes": len(ballots), "won": found.won, "lost": found.lost}
    figures = {"win_rate": found.rate, "confidence": found.confidence, "rating": verdicts[-1].rating}
    return Made(files, {**counts, "tied": found.tied, "promoted": int(found.promoted)}, figures)


def _result(ballot: Ballot, champion: str, challenger: str) -> str:
    """Of a choice between the two: won, lost or tied, as the challenger has it; else nothing."""
    keys = [_key(answer.model) for answer in ballot.answers]
    if ballot.kind != "choice" or sorted(keys) != sorted((champion, challenger)) or champion == challenger:
        return ""
    if ballot.vote == "tie":
        return "tied"
    return "won" if keys["ab".index(ballot.vote)] == challenger else "lost"


def _key(identity: str) -> str:
    """Of `name@key` or `stage/key`."""
    return identity.replace("@", "/").rpartition("/")[2]
