"""The assessment in parts, as Ray tasks, each of which is done once and found again.

1. prepare: the held-out text in model rows; what is asked of memory, with its repetitions counted.
2. measure: one part for each kind of measurement, all independent of each other.
3. latency: by itself, so that nothing else of the assessment keeps the processor busy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compute import Compute
from pipeline.evaluation import answers as asking
from pipeline.evaluation import held_out, memorization, writing
from pipeline.evaluation.assess import AssessConfig, form_of
from pipeline.evaluation.bias import bias, read_couples
from pipeline.evaluation.compression import bare_lzma_bytes
from pipeline.evaluation.evaluate import Scores
from pipeline.evaluation.harness.run import run_harness
from pipeline.evaluation.instructions.run import run_instructions
from pipeline.evaluation.likelihood import nats_of_pieces
from pipeline.evaluation.measurements import load
from pipeline.evaluation.part import PartOf, results
from pipeline.evaluation.parts import HELD_OUT
from pipeline.evaluation.tasks.kinds import KINDS
from pipeline.evaluation.tasks.run import run_tasks
from pipeline.models.model import Model
from pipeline.shards import ShardOutput, files_of
from pipeline.store import Artifact, Attempt, File
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

PIECES_PER_PART = 256
QUESTIONS_PER_PART = 100
PIECES, STRETCHES = "pieces.parquet", "stretches.npz"


@dataclass(frozen=True)
class Inputs:
    """All that is assessed, and how."""

    model: Model
    scores: Scores
    tokens: Tokens
    vocabulary: Vocabulary
    conversations: Artifact | None
    config: AssessConfig


Part = PartOf[Inputs]
"""What one task is given."""


def run_parts(attempt: Attempt, inputs: Inputs, compute: Compute) -> dict[str, list[Any]]:
    """Results by measurement: a list, one for each of its parts, in their order."""
    prepared = compute.map_shards(
        attempt,
        "prepare",
        {name: Part(attempt, inputs, name) for name in ("pieces", "stretches")},
        prepare,
    )
    files = files_of(prepared)
    pieces, questions = prepared[0].counts["pieces"], prepared[0].counts["questions"]
    measured = compute.map_shards(
        attempt, "measure", _measures(attempt, inputs, files, pieces, questions), measure
    )
    timed = []
    if questions:
        alone = {"latency": Part(attempt, inputs, "latency", last=inputs.config.timed_questions)}
        timed = compute.map_shards(attempt, "latency", alone, measure)
    return results(attempt, [*measured, *timed])


def _measures(
    attempt: Attempt, inputs: Inputs, files: dict[str, File], pieces: int, questions: int
) -> dict[str, Part]:
    """The parts of the second step, the longest first."""

    def cut(name: str, total: int, size: int) -> dict[str, Part]:
        return {
            f"{name}-{first:06}": Part(attempt, inputs, name, files, first, min(first + size, total))
            for first in range(0, total, size)
        }

    tasks = {
        f"tasks-{name}.{language}": Part(attempt, inputs, f"tasks-{name}.{language}", files)
        for name in inputs.config.tasks.names
        for language in inputs.config.tasks.languages
        if language in KINDS[name].languages
    }
    tasks |= {
        f"instructions-{language}": Part(attempt, inputs, f"instructions-{language}", files)
        for language in inputs.config.instructions.languages
    }
    if inputs.config.harness.tasks:
        tasks["harness"] = Part(attempt, inputs, "harness", files)
    single = ["memorization", *(f"bias-{language}" for language in inputs.config.bias_languages)]
    return (
        tasks
        | cut("writing", questions, QUESTIONS_PER_PART)
        | cut("likelihood", pieces, PIECES_PER_PART)
        | {name: Part(attempt, inputs, name, files) for name in single}
    )


def prepare(part: Part, output: ShardOutput) -> dict[str, int]:
    """The pieces of the held-out text, or the stretches of training and held-out text."""
    return _pieces(part, output) if part.name == "pieces" else _stretches(part, output)


def _pieces(part: Part, output: ShardOutput) -> dict[str, int]:
    inputs = part.inputs
    columns = ["id", "url", "language", "text"]
    documents = pq.read_table(inputs.scores.path(HELD_OUT), columns=columns).to_pylist()
    pieces = held_out.cut_pieces(documents, inputs.vocabulary, inputs.tokens.row_tokens)
    pq.write_table(pa.Table.from_pylist(pieces, schema=held_out.pieces_schema()), output.path(PIECES))
    return {"pieces": len(pieces), "questions": len(_exchanges(inputs))}


def _exchanges(inputs: Inputs) -> list[asking.Exchange]:
    if inputs.conversations is None:
        return []
    paths = inputs.conversations.paths("held-out/")
    return asking.read_exchanges(paths, inputs.config.questions, inputs.config.seed)


def _stretches(part: Part, output: ShardOutput) -> dict[str, int]:
    """Those of held-out text that stand in the training tokens too are left out."""
    config, tokens = part.inputs.config, part.inputs.tokens
    length = min(config.prefix_tokens + config.continued_tokens, tokens.row_tokens)
    drawn = {}
    for split in ("train", "held-out"):
        names = [name for name in tokens.names(f"{split}/") if name.endswith(".tokens.npy")]
        shards = [
            (tokens.path(name), tokens.path(name.replace(".tokens.npy", ".documents.parquet")))
            for name in names
        ]
        drawn[split] = memorization.draw_stretches(shards, config.stretches, length, config.seed)
    both = [*drawn["train"], *drawn["held-out"]]
    training = [path for path in tokens.paths("train/") if path.name.endswith(".tokens.npy")]
    counts = memorization.occurrences(both, training)
    known = counts[len(drawn["train"]) :]
    new = [each for each, count in zip(drawn["held-out"], known, strict=True) if not count]
    empty = np.empty((0, length), np.int64)
    np.savez(
        output.path(STRETCHES),
        train=np.array(drawn["train"]) if drawn["train"] else empty,
        held_out=np.array(new) if new else empty,
        repeats=np.array(counts[: len(drawn["train"])], np.int64),
    )
    return {"stretches": len(drawn["train"])}


def measure(part: Part, output: ShardOutput) -> dict[str, int]:
    """One part of the other steps."""
    kind, _, language = part.name.partition("-")
    functions: dict[str, Callable[[Part, ShardOutput], Any]] = {
        "likelihood": _likelihood,
        "writing": _writing,
        "memorization": _memorization,
        "latency": _latency,
        "tasks": _tasks,
        "instructions": _instructions,
        "harness": _harness,
        "bias": lambda part, output: bias(
            *load(part.inputs.model), read_couples(language), part.inputs.config.seed
        ),
    }
    part.write(output, functions[kind](part, output))
    return {}


def _likelihood(part: Part, output: ShardOutput) -> list[dict[str, Any]]:
    """Of each document that these pieces are of: nats, bytes, and the bytes that a compressor makes of them.

    A document may go on in the next part.
    """
    rows = pq.read_table(part.path(PIECES)).slice(part.first, part.last - part.first).to_pylist()
    model, _ = load(part.inputs.model)
    found: dict[str, dict[str, Any]] = {}
    for row, nats in zip(rows, nats_of_pieces(model, [row["ids"] for row in rows]), strict=True):
        total = found.setdefault(
            row["document"], {"document": row["document"], "nats": 0.0, "bytes": 0, "packed": 0}
        )
        total["nats"] += nats
        total["bytes"] += len(row["text"])
        total["packed"] += bare_lzma_bytes(row["text"])
    return list(found.values())


def _writing(part: Part, output: ShardOutput) -> list[dict[str, Any]]:
    """The answers to some of the held-out questions, with the questions."""
    exchanges = _exchanges(part.inputs)[part.first : part.last]
    config, form = part.inputs.config, form_of(part.inputs.model)
    found = asking.answers(*load(part.inputs.model), exchanges, config.max_answer_tokens, form)
    return [
        {
            "id": exchange.id,
            "language": exchange.language,
            "prompt": list(exchange.messages),
            "expected": exchange.answer,
            "answer": answer.text,
            "tokens": answer.tokens,
            "ended": answer.ended,
        }
        for exchange, answer in zip(exchanges, found, strict=True)
    ]


def _memorization(part: Part, output: ShardOutput) -> dict[str, Any]:
    drawn = np.load(part.path(STRETCHES))
    config = part.inputs.config
    model, tokenizer = load(part.inputs.model)
    prefix = min(config.prefix_tokens, drawn["train"].shape[1] - 1)
    return memorization.memorization(
        model,
        list(drawn["train"]),
        drawn["repeats"].tolist(),
        list(drawn["held_out"]),
        prefix,
        read=lambda ids: str(tokenizer.decode(list(ids))),
    )


def _tasks(part: Part, output: ShardOutput) -> dict[str, Any]:
    """One task in one language, with every number of examples."""
    name, _, language = part.name.removeprefix("tasks-").partition(".")
    config = part.inputs.config.tasks.model_copy(update={"names": (name,), "languages": (language,)})
    return run_tasks(*load(part.inputs.model), config, form_of(part.inputs.model)).as_json()


def _instructions(part: Part, output: ShardOutput) -> dict[str, Any]:
    """The instructions of one language."""
    language = part.name.removeprefix("instructions-")
    config = part.inputs.config.instructions.model_copy(update={"languages": (language,)})
    return run_instructions(*load(part.inputs.model), config, form_of(part.inputs.model)).as_json()


def _harness(part: Part, output: ShardOutput) -> dict[str, Any]:
    model = part.inputs.model
    return run_harness(*load(model), part.inputs.config.harness, form_of(model)).as_json()


def _latency(part: Part, output: ShardOutput) -> dict[str, Any]:
    model, tokenizer = load(part.inputs.model)
    config, form = part.inputs.config, form_of(part.inputs.model)
    exchanges = _exchanges(part.inputs)[: part.last]
    limit = config.max_answer_tokens
    prompts = [asking.asked_in(model, tokenizer, exchange, limit, form) for exchange in exchanges]
    return dict(writing.latency(model, prompts, limit))
