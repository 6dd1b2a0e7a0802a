"""The work of the stage that collects preferences: votes judged and counted, prompts split, all written."""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.alignment.forms import Rating, canonical, read_votes, votes_of_ratings, without_same
from pipeline.alignment.preferences import (
    AGREEMENT,
    SPLITS,
    NoPreferencesError,
    PreferencesConfig,
    Split,
)
from pipeline.alignment.sampled import Answers, seed_of
from pipeline.alignment.votes import Answer, Judged, LeftOut, Pair, Vote, count_votes, judge_votes
from pipeline.compute import Compute
from pipeline.corpus.tables import outputs_of, write_table
from pipeline.shards import ShardOutput, any_lost
from pipeline.store import Attempt, Made
from pipeline.training.user_rows import UserSource
from pipeline.user_function import FunctionProcess, UserFunction

LABELLED_TOGETHER = 64
"""Answers that a function is given in a batch, and has the time for."""
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
PREFERENCES = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("chosen_ended", pa.bool_()),
        ("rejected_ended", pa.bool_()),
        ("strength", pa.float64()),
        ("voters", pa.int64()),
        ("source", pa.string()),
    ]
)
LEFT_OUT = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("voter", pa.string()),
        ("seconds", pa.float64()),
        ("prompt", MESSAGES),
        ("first", pa.string()),
        ("second", pa.string()),
        ("margin", pa.float64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
SCORES = pa.schema([("id", pa.string()), ("scores", pa.list_(pa.float64()))])


@dataclass(frozen=True)
class Labelling:
    """A shard of sampled answers, and who judges them."""

    answers: Answers
    name: str
    function: UserFunction
    timeout_seconds: float


def from_source(attempt: Attempt, source: UserSource, config: PreferencesConfig) -> Made:
    """Read here and not in a task: the file is on this machine, workers may be on others."""
    votes, left_out = read_votes(source.rows(), source.source)
    name = Path(source.source).name if source.path() is not None else source.source
    return finish(attempt, votes, left_out, config, name)


def from_answers(
    attempt: Attempt, answers: Answers, function: UserFunction, config: PreferencesConfig, compute: Compute
) -> Made:
    """Every sampled answer gets its score in a Ray task; two scores of one prompt are a vote."""
    seconds = compute.config.function_timeout_seconds
    shards = {
        name.removesuffix(".parquet").replace("/", "-"): Labelling(answers, name, function, seconds)
        for name in answers.names("train/")
    }
    records = compute.map_shards(attempt, "label", shards, label)
    scores = {
        row["id"]: row["scores"]
        for path in outputs_of(attempt, records)
        for row in pq.read_table(path).to_pylist()
    }
    ratings = [
        Rating(
            canonical(row["prompt"]),
            Answer(answer["text"], answer["ended"]),
            score,
            number,
            url=row["url"],
            language=row["language"],
        )
        for number, row in enumerate(answers.rows(), 1)
        for answer, score in zip(row["answers"], scores.get(row["id"], ()), strict=False)
    ]
    votes, same = without_same(votes_of_ratings(ratings))
    made = finish(attempt, votes, same, config, "sampled")
    return dataclasses.replace(made, incomplete=any_lost(records))


def label(labelling: Labelling, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: the function's number for every answer, to `scores/NNNNN.parquet`."""
    rows = pq.read_table(labelling.answers.path(labelling.name)).to_pylist()
    given = [
        {"id": row["id"], "url": row["url"], "language": row["language"], "prompt": row["prompt"]}
        | {"answer": answer["text"], "ended": answer["ended"], "tokens": answer["tokens"]}
        for row in rows
        for answer in row["answers"]
    ]
    values: list[float] = []
    with FunctionProcess(labelling.function, labelling.timeout_seconds) as function:
        for first in range(0, len(given), LABELLED_TOGETHER):
            values += function(given[first : first + LABELLED_TOGETHER])
    left = iter(values)
    scores = [{"id": row["id"], "scores": [next(left) for _ in row["answers"]]} for row in rows]
    name = Path(labelling.name).name
    write_table(output.path(f"scores/{name}"), pa.Table.from_pylist(scores, schema=SCORES))
    return {"answers": len(given)}


def finish(
    attempt: Attempt,
    votes: Sequence[Vote],
    refused: Sequence[LeftOut],
    config: PreferencesConfig,
    source: str,
) -> Made:
    """Judge and count the votes, split by prompt, and write everything. Raises NoPreferencesError."""
    judged = judge_votes(votes, config.votes)
    pairs, ties = count_votes(judged.kept)
    left_out = [*refused, *judged.left_out, *ties]
    pairs, over = fewer_of_ratings(pairs, config.pairs_per_prompt)
    pairs, turned = with_noise(pairs, config)
    counts = {"votes": len(votes) + len(refused)}
    counts |= dict(sorted(Counter(each.reason for each in left_out).items()))
    counts |= {"over-limit": over, "turned-round": turned}
    folder = attempt.path("collected/.").resolve()
    for split, own in split_by_prompt(pairs, config).items():
        limit = config.train_pairs if split == "train" else config.held_out_pairs
        own.sort(key=lambda pair: seed_of("limit", pair.id))
        counts["over-limit"] += max(0, len(own) - limit)
        counts[split] = _write_pairs(folder / split / "00000.parquet", own[:limit], source)
    _require_both(counts, source)
    _write_left_out(folder / "left-out" / "00000.parquet", left_out)
    agreement = _agreement(judged, left_out, counts)
    (folder / AGREEMENT).write_text(json.dumps(agreement, indent=2, ensure_ascii=False) + "\n")
    from pipeline.alignment.votes_plots import plot_votes

    plot_votes(agreement, config.votes, folder / "plots")
    files = attempt.publish_folder("collected")
    return Made(
        {name.removeprefix("collected/"): file for name, file in files.items()},
        counts,
        _figures(judged, counts, pairs, len(left_out)),
    )


def fewer_of_ratings(pairs: Sequence[Pair], most: int) -> tuple[list[Pair], int]:
    """Of pairs that come from scores, so many of a prompt, the strongest first; and how many are too much."""
    kept = []
    of_prompt: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.rated:
            of_prompt[pair.prompt].append(pair)
        else:
            kept.append(pair)
    for own in of_prompt.values():
        own.sort(key=lambda pair: (-pair.strength, pair.id))
        kept += own[:most]
    return sorted(kept, key=lambda pair: pair.id), len(pairs) - len(kept)


def with_noise(pairs: Sequence[Pair], config: PreferencesConfig) -> tuple[list[Pair], int]:
    """The pairs, a share of them turned round; which ones hangs on seed and id alone. And how many are."""
    found, turned = [], 0
    for pair in pairs:
        if seed_of("noise", config.seed, pair.id) < config.noise * 2**63:
            pair = dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen)
            turned += 1
        found.append(pair)
    return found, turned


def split_by_prompt(pairs: Sequence[Pair], config: PreferencesConfig) -> dict[Split, list[Pair]]:
    """Pairs of one prompt stay together; which prompts are held out hangs on their hash."""
    prompts = sorted({pair.prompt for pair in pairs}, key=lambda prompt: seed_of("held out", prompt))
    aside = max(1, round(config.held_out_share * len(prompts))) if len(prompts) > 1 else 0
    apart = set(prompts[:aside])
    return {
        split: [pair for pair in pairs if (pair.prompt in apart) == (split != "train")] for split in SPLITS
    }


def _require_both(counts: Mapping[str, int], source: str) -> None:
    for split in SPLITS:
        if not counts[split]:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise NoPreferencesError(
                f"preferences from {source!r}: none for {split} ({told}); pairs of different answers to two "
                "different prompts are needed at least"
            )


def _write_pairs(path: Path, pairs: Sequence[Pair], source: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": pair.id,
            "url": pair.url,
            "language": pair.language,
            "prompt": json.loads(pair.prompt),
            "chosen": pair.chosen.text,
            "rejected": pair.rejected.text,
            "chosen_ended": pair.chosen.ended,
            "rejected_ended": pair.rejected.ended,
            "strength": pair.strength,
            "voters": pair.voters,
            "source": source,
        }
        for pair in sorted(pairs, key=lambda pair: pair.id)
    ]
    write_table(path, pa.Table.from_pylist(rows, schema=PREFERENCES))
    return len(rows)


def _write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "row": vote.row,
            "id": vote.pair,
            "voter": vote.voter,
            "seconds": vote.seconds,
            "prompt": json.loads(vote.prompt),
            "first": vote.first.text,
            "second": vote.second.text,
            "margin": vote.margin,
            "reason": each.reason,
            "detail": each.detail,
        }
        for each in sorted(left_out, key=lambda each: (each.vote.row, each.vote.pair))
        for vote in (each.vote,)
    ]
    write_table(path, pa.Table.from_pylist(rows, schema=LEFT_OUT))


def _agreement(judged: Judged, left_out: Sequence[LeftOut], counts: Mapping[str, int]) -> dict[str, Any]:
    """With the votes between equal answers and ties among what is left out."""
    reasons = dict(sorted(Counter(each.reason for each in left_out).items()))
    return {**judged.told(), "votes": counts["votes"], "left_out": reasons}


def _figures(
    judged: Judged, counts: Mapping[str, int], pairs: Sequence[Pair], left_out: int
) -> dict[str, float]:
    figures = {
        "mean_strength": sum(pair.strength for pair in pairs) / len(pairs),
        "left_out_share": left_out / max(1, counts["votes"]),
    }
    alphas = {"alpha": judged.alpha, "alpha_of_counted_votes": judged.alpha_kept}
    return figures | {name: value for name, value in alphas.items() if value is not None}
