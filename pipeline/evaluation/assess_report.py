"""The parts' results put together: `assessment.json`, the page, the plots, and the figures of the record."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation import estimates
from pipeline.evaluation.answers import Answer
from pipeline.evaluation.assess import ANSWERS, ASSESSMENT, DOCUMENTS, REPORT, form_of
from pipeline.evaluation.domains import domains
from pipeline.evaluation.estimates import Estimate
from pipeline.evaluation.figures import figures
from pipeline.evaluation.parts import HELD_OUT
from pipeline.evaluation.writing import writing
from pipeline.store import Attempt, Made

if TYPE_CHECKING:
    from pipeline.evaluation.assess_parts import Inputs

ALL = "all"
TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
ANSWERED = pa.schema(
    [
        ("id", pa.string()),
        ("language", pa.string()),
        ("prompt", pa.list_(TURN)),
        ("expected", pa.string()),
        ("answer", pa.string()),
        ("tokens", pa.int64()),
        ("ended", pa.bool_()),
    ]
)
SCORED = pa.schema(
    [
        ("document", pa.string()),
        ("language", pa.string()),
        ("domain", pa.string()),
        ("nats", pa.float64()),
        ("bytes", pa.int64()),
        ("packed", pa.int64()),
    ]
)

Results = Mapping[str, list[Any]]


def write_report(attempt: Attempt, inputs: "Inputs", results: Results) -> Made:
    """Write everything, tell the answers to the journal, and hand back what goes into the record."""
    from pipeline.evaluation.pages import model_page
    from pipeline.evaluation.section_plots import plot_sections, plot_tasks

    documents = scored_documents(inputs, results.get("likelihood", []))
    answers = [row for part in results.get("writing", []) for row in part]
    content = put_together(inputs, results, documents, answers)
    attempt.path(ASSESSMENT).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    attempt.path(REPORT).write_text(model_page(content))
    pq.write_table(pa.Table.from_pylist(answers, schema=ANSWERED), attempt.path(ANSWERS))
    pq.write_table(pa.Table.from_pylist(documents, schema=SCORED), attempt.path(DOCUMENTS))
    plot_sections(content, attempt.path("plots/."))
    if content["tasks"]:
        plot_tasks({content["model"]["role"]: content["tasks"]}, attempt.path("plots/tasks.png"))
    journal = attempt.journal("report")
    for answer in content["answers"]:
        journal.text(f"answer to {_one_line(answer['question'])!r}", 0, answer["answer"])
    written = (ASSESSMENT, REPORT, ANSWERS, DOCUMENTS)
    return Made(
        files={name: attempt.publish(attempt.path(name)) for name in written}
        | attempt.publish_folder("plots"),
        counts={"questions": len(answers), "documents": len(documents), "bytes": _size(documents)},
        figures={figure.name: figure.estimate["value"] for figure in figures(content)},
    )


def put_together(
    inputs: "Inputs",
    results: Results,
    documents: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of assessment.json."""
    model, seed = inputs.model, inputs.config.seed
    latency = results.get("latency", [{}])[0]
    return {
        "model": {
            "role": model.role,
            "artifact": model.base,
            "form": form_of(model),
            "parameters": model.record.counts.get("parameters"),
            "made": model.record.started,
        },
        "held_out": {"documents": len(documents), "bytes": _size(documents)},
        "limits": {"answer_tokens": inputs.config.max_answer_tokens},
        "tasks": _together(results, "tasks-", "scores"),
        "task_prompts": _together(results, "tasks-", "prompts"),
        "task_examples": _together(results, "tasks-", "examples"),
        "tasks_left_out": _together(results, "tasks-", "left_out"),
        "harness": _together(results, "harness", "scores"),
        "harness_prompts": _together(results, "harness", "prompts"),
        "instructions": {
            language: found | {"kinds": _together(results, "instructions-", "kinds")[language]}
            for language, found in _together(results, "instructions-", "scores").items()
        },
        "instruction_examples": _together(results, "instructions-", "examples"),
        "likelihood": {
            "language": _bits(documents, "language", seed),
            "domain": _bits(documents, "domain", seed),
        },
        "writing": _writing(answers, latency),
        "bias": {
            language: results[f"bias-{language}"][0]
            for language in inputs.config.bias_languages
            if f"bias-{language}" in results
        },
        "memorization": results.get("memorization", [{}])[0],
        "answers": [_shown(row) for row in answers[: inputs.config.shown_answers]],
    }


def scored_documents(inputs: "Inputs", parts: Iterable[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Every held-out document with its nats and bytes (`SCORED`); parts of one document are added up."""
    rows = pq.read_table(inputs.scores.path(HELD_OUT), columns=["id", "url", "language"]).to_pylist()
    known = {row["id"]: row for row in rows}
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for row in part:
            total = found.setdefault(
                row["document"], {"document": row["document"], "nats": 0.0, "bytes": 0, "packed": 0}
            )
            for name in ("nats", "bytes", "packed"):
                total[name] += row[name]
    places = domains(
        {document: known[document]["url"] or "" for document in found},
        {document: row["bytes"] for document, row in found.items()},
    )
    return [
        row | {"language": known[document]["language"], "domain": places[document]}
        for document, row in found.items()
    ]


def _bits(documents: Sequence[Mapping[str, Any]], column: str, seed: int) -> dict[str, Estimate]:
    """Bits per byte of each group, the largest first; of all languages together too, if there are more."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in documents:
        groups.setdefault(row[column] or "unknown", []).append(row)
    ordered = sorted(groups.items(), key=lambda group: (-_size(group[1]), group[0]))
    if column == "language" and len(groups) != 1:
        ordered.insert(0, (ALL, list(documents)))
    return {name: bits_per_byte(rows, seed) for name, rows in ordered if rows}


def bits_per_byte(documents: Sequence[Mapping[str, Any]], seed: int = 0) -> Estimate:
    """Bits for a byte, with an interval over documents; the baseline is a compressor's."""
    bits = [row["nats"] / math.log(2) for row in documents]
    packed = 8 * sum(row["packed"] for row in documents) / _size(documents)
    return estimates.ratio(bits, [row["bytes"] for row in documents], packed, seed)


def _size(documents: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["bytes"] for row in documents)


def _together(results: Results, kind: str, what: str) -> dict[str, Any]:
    """Scores, prompts or examples of all parts of one kind."""
    parts = [found for name, (found, *_) in results.items() if name.startswith(kind)]
    return {task: values for part in parts for task, values in part[what].items()}


def _writing(answers: Sequence[Mapping[str, Any]], latency: Mapping[str, Any]) -> dict[str, Any]:
    if not answers:
        return {}
    found = [Answer(row["answer"], row["tokens"], row["ended"]) for row in answers]
    return writing(found, [row["expected"] for row in answers]) | {"latency": latency}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    question = row["prompt"][-1]["content"]
    return {"question": question} | {name: row[name] for name in ("id", "expected", "answer", "ended")}


def _one_line(text: str) -> str:
    return " ".join(text.split())
