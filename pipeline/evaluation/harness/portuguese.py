"""Portuguese tasks for lm-evaluation-harness: ASSIN 2 (entailment, similarity), FaQuAD, ENEM.

Each is a configuration as the harness reads it from its YAML files, with the data from local files or,
for those who have the hub, by name. The rows have the hub's columns either way.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.harness import local_files
from pipeline.evaluation.harness.local_files import Splits
from pipeline.evaluation.tasks.measures import plain_words, token_f1

Row = Mapping[str, Any]
Values = NDArray[np.float64]
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
DEGREES = ("1", "2", "3", "4", "5")
"""ASSIN 2's scale of similarity."""


def entailment_question(row: Row) -> str:
    return (
        f"Premissa: {row['premise']}\nHipótese: {row['hypothesis']}\n"
        "Pergunta: A hipótese segue da premissa? Sim ou Não?\nResposta:"
    )


def similarity_question(row: Row) -> str:
    return (
        f"Frase 1: {row['premise']}\nFrase 2: {row['hypothesis']}\n"
        "Pergunta: Quão parecidas são as frases, de 1 (nada) a 5 (iguais)?\nResposta:"
    )


def faquad_question(row: Row) -> str:
    return f"{row['context']}\nPergunta: {row['question']}\nResposta:"


def enem_question(row: Row) -> str:
    choices = "\n".join(
        f"{letter}. {text}"
        for letter, text in zip(row["choices"]["label"], row["choices"]["text"], strict=True)
    )
    return f"Pergunta: {row['question']}\n{choices}\nResposta:"


def similarity_results(row: Row, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """The expected degree under the model's probabilities beside the true one."""
    most = max(log for log, _ in results)
    weights = [math.exp(log - most) for log, _ in results]
    expected = sum((place + 1) * weight for place, weight in enumerate(weights)) / sum(weights)
    return {"pearson": (float(row["relatedness_score"]), expected)}


def answer_results(row: Row, results: Sequence[str]) -> dict[str, float]:
    """f1 and exact match, the best over the right answers."""
    answer, right = results[0].strip(), row["answers"]["text"]
    given = plain_words(answer, "pt")
    return {
        "f1": max((token_f1(answer, each, "pt") for each in right), default=0.0),
        "exact": float(any(given == plain_words(each, "pt") for each in right)),
    }


def pearson(pairs: Sequence[tuple[float, float]]) -> float:
    """Correlation of the two columns; 0 where one of them does not vary."""
    return float(correlation(*np.array(pairs, float).T))


def correlation(one: Values, other: Values, axis: int = -1) -> Values:
    """Pearson's, of columns along `axis`; 0 where one of them does not vary."""
    varies = (np.ptp(one, axis) > 0) & (np.ptp(other, axis) > 0)
    left, right = one - one.mean(axis, keepdims=True), other - other.mean(axis, keepdims=True)
    spread = np.sqrt((left**2).sum(axis) * (right**2).sum(axis))
    found: Values = np.where(varies, (left * right).sum(axis) / np.where(varies, spread, 1.0), 0.0)
    return found


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


TASKS: Mapping[str, Mapping[str, Any]] = {
    "assin2_rte": {
        "dataset_path": "nilc-nlp/assin2",
        "training_split": "train",
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": entailment_question,
        "doc_to_choice": ["Não", "Sim"],
        "doc_to_target": lambda row: int(row["entailment_judgment"]),
        "metric_list": [_mean("acc")],
    },
    "assin2_sts": {
        "dataset_path": "nilc-nlp/assin2",
        "training_split": "train",
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": similarity_question,
        "doc_to_choice": list(DEGREES),
        "doc_to_target": lambda row: min(4, max(0, round(float(row["relatedness_score"])) - 1)),
        "process_results": similarity_results,
        "metric_list": [{"metric": "pearson", "aggregation": pearson, "higher_is_better": True}],
    },
    "faquad": {
        "dataset_path": "eraldoluis/faquad",
        "training_split": "train",
        "test_split": "validation",
        "output_type": "generate_until",
        "doc_to_text": faquad_question,
        "doc_to_target": lambda row: row["answers"]["text"][0] if row["answers"]["text"] else "",
        "process_results": answer_results,
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 32, "do_sample": False},
        "metric_list": [_mean("f1"), _mean("exact")],
    },
    "enem": {
        "dataset_path": "eduagarcia/enem_challenge",
        "test_split": "train",
        "output_type": "multiple_choice",
        "doc_to_text": enem_question,
        "doc_to_choice": lambda row: list(row["choices"]["label"]),
        "doc_to_target": lambda row: list(row["choices"]["label"]).index(row["answerKey"]),
        "process_docs": lambda rows: rows.filter(lambda row: row["answerKey"] in row["choices"]["label"]),
        "metric_list": [_mean("acc")],
    },
}
READERS: Mapping[str, Callable[[Path], Splits]] = {
    "assin2": local_files.assin2,
    "faquad": local_files.faquad,
    "enem": local_files.enem,
}
MAIN = {"assin2_rte": "acc", "assin2_sts": "pearson", "faquad": "f1", "enem": "acc"}


def configuration(task: str, path: Path | None) -> dict[str, Any]:
    """What the harness is given for one of TASKS, reading `path`, or the hub where it is None.

    Raises HarnessFilesError.
    """
    made = {"task": task, **TASKS[task]}
    if path is not None:
        splits = READERS[task.split("_")[0]](path)
        # Without training rows, examples come from the rows that are scored, never the asked one itself.
        made |= {
            "custom_dataset": partial(_datasets, splits),
            "training_split": "train" if "train" in splits else None,
            "test_split": "test",
        }
    made["fewshot_split"] = made.get("training_split") or made["test_split"]
    return made


def _datasets(splits: Splits, **_: Any) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_list(rows) for split, rows in splits.items()}


def baseline(task: str, rows: Sequence[Row]) -> dict[str, list[Any]]:
    """What takes no model, row by row, under each measure's name; empty for other tasks."""
    if task == "assin2_rte":
        return {"acc": _commonest([row["entailment_judgment"] for row in rows])}
    if task == "enem":
        return {"acc": _commonest([row["answerKey"] for row in rows])}
    if task == "assin2_sts":
        return {"pearson": [(float(row["relatedness_score"]), _shared_words(row)) for row in rows]}
    if task == "faquad":
        answers = [answer_results(row, [_closest_sentence(row)]) for row in rows]
        return {metric: [each[metric] for each in answers] for metric in ("f1", "exact")}
    return {}


def _commonest(targets: Sequence[Any]) -> list[float]:
    best = Counter(targets).most_common(1)[0][0]
    return [float(target == best) for target in targets]


def _shared_words(row: Row) -> float:
    left, right = (set(plain_words(row[side], "pt")) for side in ("premise", "hypothesis"))
    return len(left & right) / max(1, len(left | right))


def _closest_sentence(row: Row) -> str:
    asked = set(plain_words(row["question"], "pt"))
    return max(SENTENCE_END.split(row["context"]), key=lambda text: len(asked & set(plain_words(text, "pt"))))
