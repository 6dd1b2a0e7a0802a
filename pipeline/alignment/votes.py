"""Voters: how far they agree, whose votes are not believed and why, and what the others come to.

A vote is one voter's judgement of two answers to a prompt. A row that says which answer was chosen is the
vote of somebody unknown; scores of one voter are votes on every pair of answers that they scored.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from pipeline.config import Config

WILSON_Z = 1.96
"""Standard deviations of a 95 % interval."""


class VotesConfig(Config):
    """Which votes are not believed."""

    least_seconds: float = Field(default=1.0, ge=0)
    """A vote that took less is left out, where the form says how long it took."""
    reading_speed: float = Field(default=100.0, gt=0)
    """Characters per second: who voted before both answers could be read at this speed did not read them.
    People read about 25 (238 words a minute: Brysbaert, 2019, doi 10.1016/j.jml.2019.104047)."""
    least_agreement: float = Field(default=0.6, ge=0, le=1)
    """A voter who surely agrees less than this with the majority of the others (the upper end of the 95 %
    interval lies below) is left out. A coin comes to 0.5, labellers to 0.73 (Ouyang et al., 2022,
    arXiv:2203.02155)."""
    least_shared: int = Field(default=10, ge=1)
    """So many votes on pairs that others judged, too, before a voter is judged."""


@dataclass(frozen=True)
class Answer:
    text: str
    ended: bool = True
    """False of one that was cut off."""


@dataclass(frozen=True)
class Vote:
    """Which of two answers is better, as one voter sees it."""

    prompt: str
    """The messages before the answer, as canonical JSON."""
    first: Answer
    second: Answer
    margin: float
    """By how much the first is better: 1 where only that is known, 0 for a tie, below 0 for the second."""
    row: int
    """Of the source, from 1."""
    voter: str | None = None
    seconds: float | None = None
    """That the voter took."""
    rated: bool = False
    """Comes from scores of single answers."""
    url: str = ""
    language: str = ""

    @property
    def pair(self) -> str:
        """What is judged, whichever of the two comes first: 32 hexadecimal digits."""
        texts = sorted((self.first.text, self.second.text))
        return hashlib.sha256("\0".join([self.prompt, *texts]).encode()).hexdigest()[:32]

    @property
    def ordered_margin(self) -> float:
        """The margin as if the answer whose text sorts first came first."""
        return self.margin if self.first.text <= self.second.text else -self.margin

    @property
    def choice(self) -> int:
        """1, 0 or -1: what `ordered_margin` says, without how much."""
        return (self.ordered_margin > 0) - (self.ordered_margin < 0)


@dataclass(frozen=True)
class LeftOut:
    """A vote that is not counted."""

    vote: Vote
    reason: str
    detail: str


@dataclass
class Voter:
    """What is known of one voter."""

    votes: int = 0
    shared: int = 0
    """Votes on pairs that others judged, too, and neither they nor the voter called a tie."""
    agreed: int = 0
    """Of these, those that are as the majority of the others."""
    left_out: int = 0

    def interval(self) -> tuple[float, float]:
        """Of the share that agrees: 95 %, by Wilson's score."""
        return wilson(self.agreed, self.shared)


@dataclass
class Judged:
    """Votes that count, votes that don't, and how far all of them agree."""

    kept: list[Vote]
    left_out: list[LeftOut] = field(default_factory=list)
    voters: dict[str, Voter] = field(default_factory=dict)
    alpha: float | None = None
    """Krippendorff's, of all votes; None where no pair has two."""
    alpha_kept: float | None = None
    """Of those that count."""

    def told(self) -> dict[str, Any]:
        """For agreement.json."""
        return {
            "alpha": self.alpha,
            "alpha_of_counted_votes": self.alpha_kept,
            "votes": len(self.kept) + len(self.left_out),
            "left_out": dict(sorted(Counter(each.reason for each in self.left_out).items())),
            "voters": {
                name: {
                    "votes": voter.votes,
                    "left_out": voter.left_out,
                    "shared": voter.shared,
                    "agreed": voter.agreed,
                    **(dict(zip(("low", "high"), voter.interval(), strict=True)) if voter.shared else {}),
                }
                for name, voter in sorted(self.voters.items())
            },
        }


def judge_votes(votes: Sequence[Vote], config: VotesConfig) -> Judged:
    """Leave out votes that came too fast, that contradict others of the same voter or repeat them, and all
    votes of who disagrees with the others."""
    judged = Judged(list(votes), alpha=agreement(votes))
    _leave_out(judged, too_fast(judged.kept, config))
    _leave_out(judged, repeated(judged.kept))
    _leave_out(judged, contradicting(judged.kept))
    judged.voters = voters_of(judged.kept)
    _leave_out(judged, disagreeing(judged.kept, judged.voters, config))
    for out in judged.left_out:
        if out.vote.voter is not None:
            voter = judged.voters.setdefault(out.vote.voter, Voter())
            voter.left_out += 1
            voter.votes += out.reason != "disagrees"  # those were counted before they were left out
    judged.alpha_kept = agreement(judged.kept)
    return judged


def _leave_out(judged: Judged, reasons: Mapping[int, tuple[str, str]]) -> None:
    """Move votes, by their place among those that are kept."""
    judged.left_out += [LeftOut(judged.kept[at], *reasons[at]) for at in sorted(reasons)]
    judged.kept = [vote for at, vote in enumerate(judged.kept) if at not in reasons]


def too_fast(votes: Sequence[Vote], config: VotesConfig) -> dict[int, tuple[str, str]]:
    """Votes that nobody can have read both answers for."""
    found = {}
    for at, vote in enumerate(votes):
        characters = len(vote.first.text) + len(vote.second.text)
        least = max(config.least_seconds, characters / config.reading_speed)
        if vote.seconds is not None and vote.seconds < least:
            detail = f"{vote.seconds:g} s for {characters} characters, at least {least:.1f} s are needed"
            found[at] = ("too-fast", detail)
    return found


def repeated(votes: Sequence[Vote]) -> dict[int, tuple[str, str]]:
    """Votes of somebody who said the same of the same pair before."""
    found: dict[int, tuple[str, str]] = {}
    first: dict[tuple[str, str, int], int] = {}
    for at, vote in enumerate(votes):
        if vote.voter is not None:
            said = first.setdefault((vote.voter, vote.pair, vote.choice), at)
            if said != at:
                found[at] = ("repeated", f"said in row {votes[said].row} already")
    return found


def contradicting(votes: Sequence[Vote]) -> dict[int, tuple[str, str]]:
    """Votes of one voter that cannot all be true: A before B and B before A, or round a longer circle.

    Of the answers to one prompt as points and the voter's votes as arrows, all arrows from which a way
    leads back to where they begin; and a tie beside an arrow between the same two.
    """
    of_voter: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, vote in enumerate(votes):
        if vote.voter is not None:
            of_voter[vote.voter, vote.prompt].append(at)
    found = {}
    for own in of_voter.values():
        below: dict[str, set[str]] = defaultdict(set)
        for at in own:
            better, worse = _ends(votes[at])
            if votes[at].margin:
                below[better].add(worse)
        for at in own:
            better, worse = _ends(votes[at])
            if votes[at].margin == 0:
                wrong = worse in below[better] or better in below[worse]
            else:
                wrong = better in _reached(below, worse) or _tied(votes, own, at)
            if wrong:
                rows = sorted({votes[each].row for each in own})
                shown = ", ".join(map(str, rows[:8])) + (" …" if len(rows) > 8 else "")
                found[at] = ("contradicting", f"against other votes of {votes[at].voter} (rows {shown})")
    return found


def _ends(vote: Vote) -> tuple[str, str]:
    """The better and the worse answer."""
    if vote.margin >= 0:
        return vote.first.text, vote.second.text
    return vote.second.text, vote.first.text


def _reached(below: Mapping[str, set[str]], start: str) -> set[str]:
    """All that is worse than the start, and the start."""
    seen, waiting = {start}, [start]
    while waiting:
        for each in below.get(waiting.pop(), ()):
            if each not in seen:
                seen.add(each)
                waiting.append(each)
    return seen


def _tied(votes: Sequence[Vote], own: Iterable[int], at: int) -> bool:
    pair = votes[at].pair
    return any(votes[each].margin == 0 and votes[each].pair == pair for each in own)


def voters_of(votes: Sequence[Vote]) -> dict[str, Voter]:
    """Each known voter against the majority of the others, pair by pair."""
    total: dict[str, int] = defaultdict(int)
    own: dict[tuple[str, str], int] = defaultdict(int)
    voters: dict[str, Voter] = defaultdict(Voter)
    for vote in votes:
        total[vote.pair] += vote.choice
        if vote.voter is not None:
            own[vote.voter, vote.pair] += vote.choice
            voters[vote.voter].votes += 1
    for (name, pair), choice in own.items():
        others = total[pair] - choice
        if choice and others:
            voters[name].shared += 1
            voters[name].agreed += (choice > 0) == (others > 0)
    return dict(voters)


def disagreeing(
    votes: Sequence[Vote], voters: Mapping[str, Voter], config: VotesConfig
) -> dict[int, tuple[str, str]]:
    """All votes of those who surely agree with the others less than they should."""
    details = {
        name: f"{name} agrees with the others in {voter.agreed} of {voter.shared} votes"
        for name, voter in voters.items()
        if voter.shared >= config.least_shared and voter.interval()[1] < config.least_agreement
    }
    return {
        at: ("disagrees", details[vote.voter])
        for at, vote in enumerate(votes)
        if vote.voter is not None and vote.voter in details
    }


def agreement(votes: Sequence[Vote]) -> float | None:
    """Krippendorff's alpha over the pairs: one answer, the other, or a tie.

    Every pair counts twice, once from either side: which of its answers is called the one must not matter.
    """
    units: dict[tuple[str, int], list[Hashable]] = defaultdict(list)
    for vote in votes:
        for side in (1, -1):
            units[vote.pair, side].append(side * vote.choice)
    return krippendorff_alpha(units.values())


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Agreement beyond chance of whoever gave each unit its values, which are names: 1 all, 0 as by chance.

    Any number of values a unit; one alone says nothing. None where nothing was judged twice, or all values
    are the same. Krippendorff, "Computing Krippendorff's alpha-reliability", 2011.
    """
    totals: Counter[Hashable] = Counter()
    differing = 0.0
    for values in units:
        if len(values) < 2:
            continue
        counts = Counter(values)
        totals.update(counts)
        same = sum(count * (count - 1) for count in counts.values())
        differing += (len(values) * (len(values) - 1) - same) / (len(values) - 1)
    all_values = sum(totals.values())
    expected = all_values**2 - sum(count**2 for count in totals.values())
    return 1 - (all_values - 1) * differing / expected if expected else None


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927). `of` is 1 or more."""
    share, square = hits / of, WILSON_Z**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = WILSON_Z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Pair:
    """What all votes on two answers come to."""

    id: str
    prompt: str
    chosen: Answer
    rejected: Answer
    strength: float
    """The mean margin: 1 where all voters agree and scores are unknown."""
    voters: int
    rated: bool
    url: str
    language: str


def count_votes(votes: Sequence[Vote]) -> tuple[list[Pair], list[LeftOut]]:
    """The pairs that have a winner, by id; the votes of those that have none are left out as a tie."""
    of_pair: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        of_pair[vote.pair].append(vote)
    pairs: list[Pair] = []
    left_out: list[LeftOut] = []
    for identity, own in sorted(of_pair.items()):
        mean = math.fsum(vote.ordered_margin for vote in own) / len(own)
        if mean == 0:
            told = (
                f"{len(own)} votes, as many for one as for the other" if len(own) > 1 else "neither is better"
            )
            left_out += [LeftOut(vote, "tie", told) for vote in own]
            continue
        one = own[0]
        low, high = sorted((one.first, one.second), key=lambda answer: answer.text)
        chosen, rejected = (low, high) if mean > 0 else (high, low)
        pairs.append(
            Pair(
                identity,
                one.prompt,
                chosen,
                rejected,
                abs(mean),
                len(own),
                one.rated,
                one.url,
                one.language,
            )
        )
    return pairs, left_out
