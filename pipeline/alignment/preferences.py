"""The stage that collects preferences: pairs of answers to one prompt, of which one was preferred.

They come from the user (a file or a data set, in any of the forms of forms.py), or from answers that were
sampled from the chat model and labelled by a function of the user's. Whatever is left out is kept beside
them with its reason.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.alignment.ballots import ROWS, Votes, gather_votes
from pipeline.alignment.sampled import Answers
from pipeline.alignment.votes import VotesConfig
from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.store import Artifact, Attempt, Made, Store, Work
from pipeline.training.user_rows import UserSource
from pipeline.user_function import UserFunction, identity_of, load_function

Split = Literal["train", "held-out"]
SPLITS: tuple[Split, Split] = ("held-out", "train")

SAMPLED = "sampled"
BOX = "votes:"
EXAMPLE = '{"prompt": "…", "chosen": "…", "rejected": "…"}'
AGREEMENT = "agreement.json"


class PreferencesConfig(Config):
    """Where preferences come from, and which are believed."""

    source: str = SAMPLED
    """"sampled": answers of the chat model ([answers]), labelled by `label`; "votes:NAME": what people chose
    on the page, as `moinho votes` lists it; or a .jsonl or .parquet file; or the name or folder of a data set
    for `datasets`. A row has prompt, chosen and rejected (text or messages), or answers with scores, or two
    answers and a vote."""
    split: str = "train"
    """Of a `datasets` source: which of its splits."""
    revision: str | None = None
    """Of a data set on a hub: the commit; part of the key, since the data set may change."""
    label: str | None = None
    """A function of yours, such as "rules.py:names_the_thing", that gives each sampled answer a number: of
    two answers, the one with the greater number is preferred."""
    noise: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the labelled pairs that are turned round, as people err; which ones hangs on seed and pair."""
    seed: int = 0
    """Of the noise."""
    pairs_per_prompt: int = Field(default=1, ge=1)
    """Of answers that have scores: so many pairs of one prompt at most, those furthest apart first."""
    held_out_share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the prompts whose pairs are held out, to judge a reward model by."""
    train_pairs: int = Field(default=20_000, ge=1)
    """At most so many pairs to train on; chosen by hash."""
    held_out_pairs: int = Field(default=1_000, ge=1)
    """At most so many held out; chosen by hash."""
    votes: VotesConfig = VotesConfig()

    @model_validator(mode="after")
    def sampled_answers_have_a_label(self) -> Self:
        if self.source == SAMPLED and self.label is None:
            raise ValueError(
                'source is "sampled", and nothing says which of two answers is better: set label to a '
                'function of yours, such as "rules.py:names_the_thing", or source to a file of preferences'
            )
        if self.source != SAMPLED and (self.label is not None or self.noise):
            raise ValueError(
                f"label and noise are for answers that are sampled, and source is {self.source!r}: leave "
                'them out, or set source to "sampled"'
            )
        return self

    @property
    def box(self) -> str | None:
        """Whose votes are counted; None if the source is another."""
        return self.source.removeprefix(BOX) if self.source.startswith(BOX) else None

    def identity(self) -> dict[str, Any]:
        """Files and votes enter the key by their content, wherever they lie."""
        values = super().identity()
        if self.box is not None:
            values["source"] = "votes"
        elif self.source != SAMPLED and user_source(self).path() is not None:
            values["source"] = "file"
        if self.label is not None:
            values["label"] = identity_of(self.label)
        return values


class NoPreferencesError(StageError):
    """No pair of different answers was left to learn from, or none to hold out."""

    passes = False
    remedy = "Bring preferences about more prompts, or sample more answers ([answers])."


class AnswersMissingError(InputError):
    """Preferences from sampled answers were asked for without sampled answers."""

    remedy = "Let the flow sample answers first, or set preferences.source to a file."


class Preferences(Artifact):
    """Pairs in `train/` and `held-out/`: id, url, language, prompt (messages), chosen, rejected,
    chosen_ended, rejected_ended (False of an answer that was cut off), strength, voters, source.
    What was left out lies in `left-out/` with its reason; `agreement.json` and `plots/` are about voters."""

    stage, role, revision = "preferences", "preferences", 1

    def rows(self, split: Split) -> Iterator[dict[str, Any]]:
        """Every pair, sorted by id; `prompt` is a list of {role, content}. No prompt is in both splits."""
        import pyarrow.parquet as pq

        for path in self.paths(f"{split}/"):
            yield from pq.read_table(path).to_pylist()

    def agreement(self) -> dict[str, Any]:
        """How far voters agree, and what became of each voter's votes."""
        found: dict[str, Any] = json.loads(self.path(AGREEMENT).read_bytes())
        return found


def collect_preferences(
    store: Store,
    answers: Answers | None,
    config: PreferencesConfig,
    compute: Compute,
    votes: Votes | None = None,
) -> Preferences:
    """Preferences from what `config.source` names; `answers` are needed where they are sampled; `votes` are
    those that the box had at some time, if not as it is now.

    Raises SourceError, RevisionMissingError, BallotError, the errors of pipeline.alignment.forms and of
    pipeline.user_function (exit code 2, with file and row), AnswersMissingError and NoPreferencesError.
    """
    content, function = check_preferences(config)
    if function is not None and answers is None:
        raise AnswersMissingError(
            'preferences.source is "sampled", and there are no sampled answers; sample them first, or name '
            "a file with preferences"
        )
    if votes is None and config.box is not None:
        votes = gather_votes(store, config.box)
    inputs: Mapping[str, Artifact | None] = {
        "answers": answers if function is not None else None,
        "votes": votes,
    }
    build = partial(_build, answers=answers, votes=votes, function=function, config=config, compute=compute)
    return store.make(
        Preferences, config, inputs, build, content=content, work=lambda: _work(answers, config)
    )


def check_preferences(config: PreferencesConfig) -> tuple[dict[str, str], UserFunction | None]:
    """The identity of what comes from outside, by name, and the function that labels, loaded once; a file is
    read through. A flow may call it before it starts anything. Raises SourceError, RevisionMissingError,
    UserFunctionError, and for a file the errors of pipeline.alignment.forms."""
    if config.box is not None:
        return {}, None  # they are read when they are gathered
    if config.source != SAMPLED:
        source = user_source(config)
        identity = source.identity(f', or set preferences.source to "{SAMPLED}"')
        path = source.path()
        if path is not None and path.is_file():
            from pipeline.alignment.forms import read_votes

            read_votes(source.rows(), source.source)
        return identity, None
    assert config.label is not None
    function = load_function(config.label, "preferences.label")
    return {"label": function.sha256}, function


def user_source(config: PreferencesConfig) -> UserSource:
    """The file or data set that the section names."""
    return UserSource("preferences", config.source, config.split, config.revision, EXAMPLE)


def _work(answers: Answers | None, config: PreferencesConfig) -> Work:
    """Of a source of the user's own it is not known how much it has before it is read: the most."""
    if config.source != SAMPLED or answers is None:
        return {"train": config.train_pairs, "held-out": config.held_out_pairs}
    pairs = answers.counts().get("prompts", 0) * config.pairs_per_prompt
    aside = pairs * config.held_out_share
    return {
        "answers": answers.counts().get("answers", 0),
        "train": min(pairs - aside, config.train_pairs),
        "held-out": min(aside, config.held_out_pairs),
    }


def _build(
    attempt: Attempt,
    answers: Answers | None,
    votes: Votes | None,
    function: UserFunction | None,
    config: PreferencesConfig,
    compute: Compute,
) -> Made:
    from pipeline.alignment import collecting

    if votes is not None:
        source = UserSource("preferences", str(votes.path(ROWS)), config.split, None, EXAMPLE)
        return collecting.from_source(attempt, source, config)
    if function is None:
        return collecting.from_source(attempt, user_source(config), config)
    assert answers is not None
    return collecting.from_answers(attempt, answers, function, config, compute)
