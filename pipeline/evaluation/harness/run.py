"""lm-evaluation-harness (Gao et al., 2021; `lm_eval`) through its Python interface, with a loaded model."""

import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.errors import InputError
from pipeline.evaluation import estimates
from pipeline.evaluation.harness import portuguese
from pipeline.evaluation.harness.local_files import HarnessFilesError
from pipeline.evaluation.harness.settings import HarnessConfig
from pipeline.evaluation.tasks.prompts import PromptForm

SHOWN_CHARACTERS = 2000


class HarnessTaskError(InputError):
    """lm-evaluation-harness does not know a task, or cannot get its data."""

    remedy = (
        "Correct `tasks` of the harness: assin2_rte, assin2_sts, faquad, enem, the name of a task file in "
        "`folder`, or one of the harness's own tasks, whose data need the hub; or give the data's local path."
    )


@dataclass(frozen=True)
class HarnessResults:
    """What the harness measured, in the shape of the pipeline's own tasks."""

    scores: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = field(default_factory=dict)
    """task → number of examples → measure → value, low, high, baseline (None where there is none), n."""
    prompts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """task → number of examples → n: requests; cut: those whose beginning did not fit."""
    examples: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """task → number of examples → prompt, answer, expected."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _tell_nobody(_: str) -> None:
    pass


def run_harness(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: HarnessConfig,
    form: PromptForm,
    told: Callable[[str], None] = _tell_nobody,
) -> HarnessResults:
    """Every task with every number of examples. Raises HarnessTaskError and HarnessFilesError."""
    results = HarnessResults()
    if not config.tasks:
        return results
    from lm_eval.tasks import TaskManager

    from pipeline.evaluation.harness.loaded_model import LoadedModel

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    given = [_task(name, config) for name in config.tasks]
    manager = TaskManager(include_path=config.folder, include_defaults=False)
    if any(isinstance(task, str) and task not in manager.all_tasks for task in given):
        manager = TaskManager(include_path=config.folder)  # the harness's own, thousands of files
    for shots in config.shots:
        for name, task in zip(config.tasks, given, strict=True):
            told(f"{name}, {shots} examples")
            loaded = LoadedModel(model, tokenizer, form)
            found = _evaluate(loaded, name, task, manager, config, shots)
            for each, samples in found["samples"].items():
                _record(results, each, str(shots), samples, found, config)
                results.prompts.setdefault(each, {})[str(shots)] = {"n": loaded.asked, "cut": loaded.cut}
    return results


def _task(name: str, config: HarnessConfig) -> str | dict[str, Any]:
    """What the harness is to load: a name, or a configuration with local data."""
    if name not in portuguese.TASKS:
        return name
    path = getattr(config, name.split("_")[0])
    if path is not None and not Path(path).exists():
        raise HarnessFilesError(f"{path} (`{name.split('_')[0]}` of the harness) is not there")
    return portuguese.configuration(name, None if path is None else Path(path))


def _evaluate(
    loaded: Any, name: str, task: str | dict[str, Any], manager: Any, config: HarnessConfig, shots: int
) -> dict[str, Any]:
    """The harness's own results. Raises HarnessTaskError."""
    import lm_eval

    try:
        # Its progress bars and its listing of the machine are nobody's to read here.
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            found = lm_eval.simple_evaluate(
                model=loaded,
                tasks=[task],
                num_fewshot=shots,
                limit=config.items,
                task_manager=manager,
                apply_chat_template=loaded.form == "chat",
                fewshot_as_multiturn=loaded.form == "chat",
                bootstrap_iters=0,
                log_samples=True,
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
                fewshot_random_seed=config.seed,
            )
    except (KeyError, ValueError, OSError) as error:
        raise HarnessTaskError(
            f"the harness could not run {name!r}: {type(error).__name__}: {str(error)[:300]}"
        ) from error
    return dict(found or {"samples": {}, "results": {}})


def _record(
    results: HarnessResults,
    task: str,
    shots: str,
    samples: Sequence[dict[str, Any]],
    found: dict[str, Any],
    config: HarnessConfig,
) -> None:
    """One task's scores and examples, put into `results`. A task's first filter of answers counts."""
    kept = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    trivial = portuguese.baseline(task, [sample["doc"] for sample in kept])
    scores: dict[str, Mapping[str, Any]] = {}
    for metric in kept[0]["metrics"]:
        values = [sample[metric] for sample in kept]
        scores[metric] = _score(
            values, trivial.get(metric), found["results"][task].get(f"{metric},{kept[0]['filter']}"), config
        )
    results.scores.setdefault(task, {})[shots] = scores
    results.examples.setdefault(task, {})[shots] = [_example(sample) for sample in kept[: config.shown]]


def _score(
    values: Sequence[Any], baseline: Sequence[Any] | None, reported: Any, config: HarnessConfig
) -> Mapping[str, Any]:
    """A mean with its interval; of pairs a correlation; of anything else what the harness reports."""
    told = float(reported) if isinstance(reported, int | float) else None
    if all(isinstance(value, int | float | np.number) for value in values) and _is_mean(values, told):
        trivial = None if baseline is None else float(np.mean(baseline))
        return estimates.score([float(value) for value in values], trivial, config.seed)
    if baseline is not None:
        trivial = portuguese.pearson(baseline)
        columns = list(zip(*values, strict=True))
        return estimates.resampled(portuguese.correlation, columns, trivial, config.seed)
    return {"value": told, "low": None, "high": None, "baseline": None, "n": len(values)}


def _is_mean(values: Sequence[float], reported: float | None) -> bool:
    """Whether the task's figure is the mean of its items' values; a perplexity, for one, is not."""
    return reported is None or math.isclose(float(np.mean(values)), reported, rel_tol=1e-6, abs_tol=1e-9)


def _example(sample: dict[str, Any]) -> dict[str, Any]:
    """A question as it was asked, with the text that was written or the likeliest choice."""
    response, expected = sample["filtered_resps"], sample["target"]
    if isinstance(response[0], str):
        answer: Any = response[0]
    else:
        choices = [str(asked[1]).strip() for asked in sample["arguments"]]
        answer = choices[max(range(len(response)), key=lambda at: response[at][0])]
        expected = choices[expected] if isinstance(expected, int) and expected < len(choices) else expected
    return {
        "prompt": str(sample["arguments"][0][0])[-SHOWN_CHARACTERS:],
        "answer": answer,
        "expected": str(expected),
    }
