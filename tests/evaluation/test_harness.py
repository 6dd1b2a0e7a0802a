"""lm-evaluation-harness with a small random model, on local files alone."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedModel

from pipeline.evaluation.harness.loaded_model import LoadedModel
from pipeline.evaluation.harness.local_files import HarnessFilesError
from pipeline.evaluation.harness.run import HarnessResults, HarnessTaskError, run_harness
from pipeline.evaluation.harness.settings import HarnessConfig
from pipeline.evaluation.likelihood import token_nats
from pipeline.evaluation.tasks.prompts import PromptForm
from pipeline.models.generation import answer_greedily, encode
from pipeline.tokens.markers import ASSISTANT_ID, BEGIN_ID
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.portuguese_files import write_assin2, write_enem, write_faquad
from tests.evaluation.stand_ins import random_model

OWN_TASK = """
task: weather
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return random_model(1024, context=128)


def request(*arguments: Any) -> Any:
    return SimpleNamespace(args=arguments)


def test_likelihoods_are_the_models_own(small_vocabulary: Vocabulary, model: PreTrainedModel) -> None:
    tokenizer = small_vocabulary.tokenizer()
    loaded = LoadedModel(model, tokenizer, "text")
    texts = [("The sky is", " blue"), ("One", " two three four"), ("A longer beginning than that", " end")]
    found = loaded.loglikelihood([request(*pair) for pair in texts], disable_tqdm=True)
    for (context, continuation), (value, _) in zip(texts, found, strict=True):
        whole, before = encode(tokenizer, context + continuation), encode(tokenizer, context)
        assert value == pytest.approx(-sum(token_nats(model, [whole])[0][len(before) - 1 :]), rel=1e-4)
    assert loaded.cut == 0


def test_greedy_is_told_where_it_is(small_vocabulary: Vocabulary, model: PreTrainedModel) -> None:
    loaded = LoadedModel(model, small_vocabulary.tokenizer(), "text")
    context = encode(small_vocabulary.tokenizer(), "The sky")
    greedy = answer_greedily(model, [context], max_tokens=3, stop=())[0]
    other = [*greedy[:-1], (greedy[-1] + 1) % 1024]
    found = loaded._loglikelihood_tokens([(None, context, greedy), (None, context, other)])
    assert [is_greedy for _, is_greedy in found] == [True, False]


def test_a_long_text_is_scored_in_windows(small_vocabulary: Vocabulary) -> None:
    short = random_model(1024, context=16)
    loaded = LoadedModel(short, small_vocabulary.tokenizer(), "text")
    text = "one two three " * 20
    ids = encode(small_vocabulary.tokenizer(), text)[1:]
    found = loaded.loglikelihood_rolling([request(text)])[0]
    assert found < 0
    assert abs(found) < 4 * len(ids) * math.log(1024)


def test_what_is_too_long_is_cut_and_counted(small_vocabulary: Vocabulary) -> None:
    short = random_model(1024, context=16)
    loaded = LoadedModel(short, small_vocabulary.tokenizer(), "text")
    long = "one two three " * 20
    loaded.loglikelihood([request(long, " four"), request("one", long)], disable_tqdm=True)
    answers = loaded.generate_until([request(long, {"until": ["\n"], "max_gen_toks": 500})])
    assert loaded.cut == 3
    assert loaded.asked == 3
    assert isinstance(answers[0], str)


def test_answers_end_before_their_stop_texts(small_vocabulary: Vocabulary, model: PreTrainedModel) -> None:
    loaded = LoadedModel(model, small_vocabulary.tokenizer(), "text")
    whole = loaded.generate_until([request("The sky is", {"until": [], "max_gen_toks": 12})])[0]
    stop = whole[4:6]
    cut = loaded.generate_until([request("The sky is", {"until": [stop], "max_gen_toks": 12})])[0]
    assert cut == whole[: whole.index(stop)]


def test_only_the_template_writes_markers(small_vocabulary: Vocabulary, model: PreTrainedModel) -> None:
    loaded = LoadedModel(model, small_vocabulary.tokenizer(), "chat")
    written = loaded.apply_chat_template([{"role": "user", "content": "Why?<|assistant|>"}])
    assert loaded.tok_encode(written).count(ASSISTANT_ID) == 1
    assert loaded.tok_encode("Why?<|assistant|>").count(ASSISTANT_ID) == 0
    assert loaded.tok_encode("Why?")[0] == BEGIN_ID
    assert loaded.tok_encode("Why?", add_special_tokens=False)[0] != BEGIN_ID


@pytest.mark.parametrize("form", ["chat", "text"])
def test_portuguese_tasks_run_on_local_files(
    small_vocabulary: Vocabulary, model: PreTrainedModel, tmp_path: Path, form: PromptForm
) -> None:
    config = HarnessConfig(
        tasks=("assin2_rte", "assin2_sts", "faquad", "enem"),
        assin2=str(write_assin2(tmp_path / "assin2")),
        faquad=str(write_faquad(tmp_path / "faquad")),
        enem=str(write_enem(tmp_path / "enem")),
        shots=(0, 1),
    )
    results = run_harness(model, small_vocabulary.tokenizer(), config, form)
    counts = {"assin2_rte": 4, "assin2_sts": 4, "faquad": 3, "enem": 3}
    metrics = {
        "assin2_rte": {"acc"},
        "assin2_sts": {"pearson"},
        "faquad": {"f1", "exact"},
        "enem": {"acc"},
    }
    assert set(results.scores) == set(counts)
    for task, by_shots in results.scores.items():
        assert set(by_shots) == {"0", "1"}
        for shots, scores in by_shots.items():
            assert set(scores) == metrics[task]
            for metric, score in scores.items():
                assert score["low"] is not None or metric in ("f1", "pearson")  # of fewer than five
                assert score["n"] == counts[task]
                assert score["low"] is None or score["low"] <= score["value"] <= score["high"]
                assert score["baseline"] is not None
            assert len(results.examples[task][shots]) == 3
    assert "Premissa: Um menino" in results.examples["assin2_rte"]["0"][0]["prompt"]
    assert results.examples["assin2_rte"]["0"][0]["answer"] in ("Sim", "Não")


def test_a_users_own_task_file_runs(
    small_vocabulary: Vocabulary, model: PreTrainedModel, tmp_path: Path
) -> None:
    data = tmp_path / "weather.jsonl"
    data.write_text(
        '{"question": "Does it rain?", "answer": 0}\n{"question": "Does it snow?", "answer": 1}\n'
    )
    (tmp_path / "weather.yaml").write_text(OWN_TASK.format(data=data))
    config = HarnessConfig(tasks=("weather",), folder=str(tmp_path))
    results = run_harness(model, small_vocabulary.tokenizer(), config, "text")
    score = results.scores["weather"]["0"]["acc"]
    assert score["n"] == 2
    assert score["baseline"] is None


def test_nothing_is_asked_by_default(small_vocabulary: Vocabulary, model: PreTrainedModel) -> None:
    assert run_harness(model, small_vocabulary.tokenizer(), HarnessConfig(), "text") == HarnessResults()


def test_what_is_missing_is_told(
    small_vocabulary: Vocabulary, model: PreTrainedModel, tmp_path: Path
) -> None:
    tokenizer = small_vocabulary.tokenizer()
    with pytest.raises(HarnessFilesError, match="is not there"):
        run_harness(model, tokenizer, HarnessConfig(tasks=("enem",), enem=str(tmp_path / "none")), "text")
    with pytest.raises(HarnessTaskError, match="no_such_task"):
        run_harness(model, tokenizer, HarnessConfig(tasks=("no_such_task",)), "text")
