"""Preferences as an artifact: from files and from sampled answers, split by prompt, the same every time."""

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.alignment import sampled
from pipeline.alignment.preferences import (
    AnswersMissingError,
    NoPreferencesError,
    Preferences,
    PreferencesConfig,
    collect_preferences,
)
from pipeline.alignment.sampled import Answers, AnswersConfig, NoPromptsError, sample_answers
from pipeline.compute import Compute
from pipeline.store import Attempt, Made, Store
from pipeline.training.conversations import Conversations
from pipeline.training.user_rows import RevisionMissingError, SourceError
from pipeline.user_function import FunctionRaisedError, UserFunctionError
from tests.alignment.in_process import InProcess
from tests.evaluation.stand_ins import NoConfig, SmallModel

RULE = """
def says_so(prompt, answer, ended, tokens, **row):
    return float("so" in answer) + 0.1 * ended

def fails(answer, **row):
    raise KeyError(answer)
"""


def pairs_file(folder: Path, rows: list[dict[str, Any]], name: str = "pairs.jsonl") -> str:
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def asked(number: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"Why {number}?", "chosen": f"So {number}.", "rejected": "No.", **more}


def collected(store: Store, source: str, **settings: Any) -> Preferences:
    return collect_preferences(store, None, PreferencesConfig(source=source, **settings), InProcess())


def test_a_file_becomes_pairs_in_two_splits_that_share_no_prompt(store, tmp_path):
    rows = [asked(number % 40, rejected=f"No {number}.") for number in range(80)]
    made = collected(store, pairs_file(tmp_path, rows), held_out_share=0.25)
    train, held_out = list(made.rows("train")), list(made.rows("held-out"))
    prompts = [{row["prompt"][0]["content"] for row in split} for split in (train, held_out)]
    assert not prompts[0] & prompts[1]
    assert (len(prompts[0]), len(prompts[1])) == (30, 10)
    assert made.record.counts["train"] == len(train) == 60
    assert made.record.counts["held-out"] == len(held_out) == 20
    [row] = [row for row in train + held_out if row["rejected"] == "No 7."]
    assert row["prompt"] == [{"role": "user", "content": "Why 7?"}]
    assert (row["chosen"], row["strength"], row["voters"]) == ("So 7.", 1.0, 1)
    assert (row["source"], row["chosen_ended"]) == ("pairs.jsonl", True)
    assert [row["id"] for row in train] == sorted(row["id"] for row in train)


def test_the_order_and_the_format_of_a_file_change_no_byte_of_the_pairs(store, tmp_path):
    rows = [asked(number) for number in range(30)]
    one = collected(store, pairs_file(tmp_path, rows))
    other = collected(store, pairs_file(tmp_path, rows[::-1], "pairs.parquet"))
    for split in ("train", "held-out"):
        first, second = ([{**row, "source": ""} for row in made.rows(split)] for made in (one, other))
        assert first == second
    assert one.key != other.key


def test_a_files_place_is_not_part_of_the_key(store, tmp_path):
    source = pairs_file(tmp_path, [asked(number) for number in range(30)])
    (tmp_path / "elsewhere").mkdir()
    moved = pairs_file(tmp_path / "elsewhere", [asked(number) for number in range(30)])
    assert collected(store, source).key == collected(store, moved).key


def test_what_is_left_out_is_told_with_its_reason_and_counted(store, tmp_path):
    rows = [asked(number, voter="ana", seconds=9) for number in range(30)]
    rows += [asked(0, voter="ana", seconds=9), asked(1, voter="rui", seconds=0.2)]
    rows += [asked(2, rejected="So 2."), asked(50), {**asked(50), "chosen": "No.", "rejected": "So 50."}]
    rows += [asked(3, voter="eva"), {**asked(3), "chosen": "No.", "rejected": "So 3.", "voter": "eva"}]
    made = collected(store, pairs_file(tmp_path, rows))
    left_out = pq.read_table(made.path("left-out/00000.parquet")).to_pylist()
    reasons = Counter(row["reason"] for row in left_out)
    assert reasons == {"repeated": 1, "too-fast": 1, "same-answers": 1, "tie": 2, "contradicting": 2}
    assert {name: made.record.counts[name] for name in reasons} == reasons
    assert made.record.counts["votes"] == len(rows)
    assert made.agreement()["left_out"] == reasons
    assert made.agreement()["voters"]["ana"]["votes"] == 31
    [fast] = [row for row in left_out if row["reason"] == "too-fast"]
    assert (fast["row"], fast["voter"], fast["detail"][:5]) == (32, "rui", "0.2 s")
    assert "plots/left-out.png" in made.record.files


def test_of_scores_only_the_furthest_apart_become_pairs(store, tmp_path):
    rows = [
        {"prompt": f"Why {number}?", "answers": ["a", "b", "c", "a"], "scores": [1, 5, 4, 2]}
        for number in range(20)
    ]
    made = collected(store, pairs_file(tmp_path, rows), pairs_per_prompt=1)
    found = {(row["chosen"], row["rejected"], row["strength"]) for row in made.rows("train")}
    assert found == {("b", "a", 3.5)}
    assert made.record.counts["same-answers"] == 20
    assert made.record.counts["over-limit"] == 40


@pytest.mark.parametrize(
    ("settings", "error", "found"),
    [
        ({"source": "nowhere.jsonl"}, SourceError, 'no such file .* or set preferences.source to "sampled"'),
        ({"source": "someone/pairs"}, RevisionMissingError, "set preferences.revision to the commit"),
        ({}, ValidationError, "nothing says which of two answers is better"),
        ({"source": "pairs.jsonl", "noise": 0.1}, ValidationError, "label and noise are for answers"),
        ({"label": "nowhere.py:rule"}, UserFunctionError, "preferences.label is 'nowhere.py:rule'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_starts(store, settings, error, found):
    with pytest.raises(error, match=found):
        collect_preferences(store, None, PreferencesConfig(**settings), InProcess())


def test_pairs_that_leave_nothing_to_learn_are_refused_with_what_became_of_them(store, tmp_path):
    source = pairs_file(tmp_path, [asked(1, rejected="So 1."), asked(2, rejected="So 2.")])
    with pytest.raises(NoPreferencesError, match=r"none for held-out .*same-answers 2"):
        collected(store, source)


class GivenAnswers(Answers):
    """Answers that no model has sampled."""


def given_answers(store: Store, prompts: int = 200) -> Answers:
    def build(attempt: Attempt) -> Made:
        from pipeline.alignment.sampling_task import ANSWERS

        for shard in range(2):
            rows = [
                {
                    "id": f"c{number:04}",
                    "url": "http://a.test/",
                    "language": "en",
                    "prompt": [{"role": "user", "content": f"Why {number}?"}],
                    "answers": [
                        {"text": "so", "tokens": 1, "ended": True},
                        {"text": "no" if number % 10 else "so", "tokens": 1, "ended": number % 3 == 0},
                    ],
                }
                for number in range(shard, prompts, 2)
            ]
            path = attempt.path(f"answers/train/{shard:05}.parquet")
            pq.write_table(pa.Table.from_pylist(rows, schema=ANSWERS), path)
        files = attempt.publish_folder("answers")
        return Made({name.removeprefix("answers/"): file for name, file in files.items()})

    return store.make(GivenAnswers, NoConfig(), {}, build)


@pytest.fixture
def rule(tmp_path: Path) -> str:
    (tmp_path / "rules.py").write_text(RULE)
    return str(tmp_path / "rules.py")


def test_sampled_answers_are_labelled_and_the_noise_hangs_on_seed_and_pair_alone(store, rule):
    answers = given_answers(store)
    pure = collect_preferences(store, answers, PreferencesConfig(label=f"{rule}:says_so"), InProcess())
    noisy_config = PreferencesConfig(label=f"{rule}:says_so", noise=0.2)
    noisy = collect_preferences(store, answers, noisy_config, InProcess())
    before = {row["id"]: row for split in ("train", "held-out") for row in pure.rows(split)}
    after = {row["id"]: row for split in ("train", "held-out") for row in noisy.rows(split)}
    assert {row["chosen"] for row in before.values()} == {"so"}
    assert before.keys() == after.keys()
    turned = {key for key, row in after.items() if row["chosen"] == "no"}
    assert noisy.record.counts["turned-round"] == len(turned)
    assert 0.1 < len(turned) / len(after) < 0.3
    assert pure.record.counts["same-answers"] == 20
    other = Store(f"{store.storage.root}-2")
    fewer = collect_preferences(other, given_answers(other, 100), noisy_config, InProcess())
    for split in ("train", "held-out"):
        for row in fewer.rows(split):
            assert (row["id"] in turned) == (row["chosen"] == "no")
    one = after[next(iter(turned))]
    assert (one["source"], one["url"], one["language"]) == ("sampled", "http://a.test/", "en")
    assert one["rejected_ended"] is True


def test_a_label_that_raises_ends_the_stage_with_prompt_and_answer(store, rule):
    config = PreferencesConfig(label=f"{rule}:fails")
    with pytest.raises(FunctionRaisedError, match=r"fails raised KeyError: 'so' .*prompt: 'Why 0\?'"):
        collect_preferences(store, given_answers(store), config, InProcess())


def conversations_of(store: Store, prompts: int, long: Collection[int] = (3,)) -> Conversations:
    def build(attempt: Attempt) -> Made:
        rows = [
            {
                "id": f"c{number:04}",
                "url": "",
                "language": "en",
                "messages": [
                    {
                        "role": "user",
                        "content": f"What is number {number}?" + " far" * (80 * (number in long)),
                    },
                    {"role": "assistant", "content": "It is one."},
                ],
            }
            for number in range(prompts)
        ]
        path = attempt.path("train/00000.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
        return Made({"train/00000.parquet": attempt.publish(path)}, {"train": prompts})

    return store.make(Conversations, NoConfig(), {}, build)


SAMPLED = AnswersConfig(answers=3, max_tokens=6, prompts=10)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "PROMPTS_PER_SHARD", 4)


def test_sampling_that_was_killed_goes_on_to_the_same_answers(
    store, tmp_path, small_model: SmallModel, small_shards
):
    conversations = conversations_of(store, 10)
    made = sample_answers(store, small_model, conversations, SAMPLED, InProcess())
    again = Store(str(tmp_path / "again"))
    killed, rest = InProcess(stop_after=1), InProcess()
    with pytest.raises(KeyboardInterrupt):
        sample_answers(again, small_model, conversations, SAMPLED, killed)
    repeated = sample_answers(again, small_model, conversations, SAMPLED, rest)
    assert (killed.ran, rest.ran) == (["sample/00000"], ["sample/00001", "sample/00002"])
    assert repeated.record.digest == made.record.digest
    rows = list(made.rows())
    assert [row["id"] for row in rows] == [f"c{number:04}" for number in range(10) if number != 3]
    assert {len(row["answers"]) for row in rows} == {3}
    assert max(answer["tokens"] for row in rows for answer in row["answers"]) <= 6
    assert len({answer["text"] for row in rows for answer in row["answers"]}) > 20
    assert made.record.counts["too-long"] == 1
    other = sample_answers(store, small_model, conversations, SAMPLED.model_copy(update={"seed": 1}), rest)
    assert other.record.digest != made.record.digest


def test_what_is_missing_for_sampled_preferences_is_said(store, rule, small_model: SmallModel):
    with pytest.raises(AnswersMissingError, match="there are no sampled answers"):
        collect_preferences(store, None, PreferencesConfig(label=f"{rule}:says_so"), InProcess())
    long = conversations_of(store, 10, long=range(10))
    with pytest.raises(NoPromptsError, match="none of 10 prompts was answered"):
        sample_answers(store, small_model, long, SAMPLED, InProcess())


@pytest.mark.everything
def test_ray_tasks_sample_the_same_answers(
    store, tmp_path, small_model: SmallModel, compute: Compute, small_shards
):
    conversations = conversations_of(store, 10)
    here = sample_answers(store, small_model, conversations, SAMPLED, InProcess())
    in_ray = sample_answers(Store(str(tmp_path / "ray")), small_model, conversations, SAMPLED, compute)
    assert in_ray.record.digest == here.record.digest
