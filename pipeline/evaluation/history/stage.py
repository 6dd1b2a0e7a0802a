"""The stage that compares families of models that learned from the same tokens at the same compute."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.models.counted import CountedModel, NGramConfig
from pipeline.models.families import FAMILIES, FamilyName, shape_of, training_flops_per_token
from pipeline.models.model import Model
from pipeline.shards import any_lost
from pipeline.store import Artifact, Attempt, JournalReader, Made, Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary

TABLE, PAGE = "history.json", "history.html"
NGRAM = "ngram"
Value = bool | int | float | str


class HistoryConfig(Config):
    """Which families are trained and compared."""

    families: tuple[FamilyName, ...] = (
        *("rnn", "gru", "lstm", "gpt2", "bert", "roberta", "t5", "bart", "llama"),
    )
    """In the order in which they are told of; the n-gram model is always the first."""
    flops: float = Field(default=1.5e13, gt=0)
    """Floating point operations that each of them is trained with."""
    ngram: NGramConfig = NGramConfig()
    """The model that counts, which takes hardly any."""
    settings: dict[FamilyName, dict[str, Value]] = Field(default_factory=dict)
    """What a family has otherwise than [pretrain]: a table [history.settings.lstm] may have
    learning_rate = 0.003."""
    targets: int = Field(default=256, ge=8)
    """Held-out tokens that every family is asked for."""


class History(Artifact):
    """`history.json` with every figure, pictures, and `history.html`, a page in English and Portuguese."""

    stage, role, revision = "history", "history", 1

    def table(self) -> dict[str, Any]:
        """`members` in their order, each with what was measured."""
        found: dict[str, Any] = json.loads(self.path(TABLE).read_bytes())
        return found


def compare_history(
    store: Store,
    tokens: Tokens,
    vocabulary: Vocabulary,
    counted: CountedModel,
    models: Mapping[FamilyName, Model],
    config: HistoryConfig,
    compute: Compute,
) -> History:
    """Ask every model for the same held-out tokens, time some of them, and tell what was found."""
    inputs: dict[str, Artifact] = {"tokens": tokens, "vocabulary": vocabulary, NGRAM: counted}
    inputs |= {str(family): model for family, model in models.items()}
    return store.make(
        History,
        config,
        inputs,
        partial(
            _build,
            tokens=tokens,
            pieces=vocabulary.pieces,
            counted=counted,
            models=models,
            config=config,
            compute=compute,
        ),
        work=lambda: {"targets": config.targets, "models": len(models) + 1},
    )


def _build(
    attempt: Attempt,
    tokens: Tokens,
    pieces: int,
    counted: CountedModel,
    models: Mapping[FamilyName, Model],
    config: HistoryConfig,
    compute: Compute,
) -> Made:
    from pipeline.evaluation.history import page, plots
    from pipeline.evaluation.history.measure import Asked, Timed, ask_member, time_member

    asked = {NGRAM: Asked(NGRAM, counted, tokens, config.targets)}
    asked |= {str(name): Asked(name, model, tokens, config.targets) for name, model in models.items()}
    answers = compute.map_shards(attempt, "ask", asked, ask_member, cpus=1)
    timed = {name: Timed(name, models[name]) for name in ("lstm", "llama", "gpt2") if name in models}
    times = compute.map_shards(attempt, "time", timed, time_member, cpus=compute.cpus())
    found: dict[str, dict[str, Any]] = {name: {} for name in asked}
    for records in (answers, times):
        for record in records:
            for file in record.files.values():
                found[record.identity] |= json.loads(attempt.storage.read(f"{attempt.base}/{file.path}"))
    for name, model in models.items():
        found[name] |= _trained(name, model, pieces, tokens.row_tokens)
    found[NGRAM] |= {"held_out_bits_per_byte": counted.record.figures["held_out_bits_per_byte"]}
    found[NGRAM] |= {"grams": counted.record.counts, "order": config.ngram.order}
    members = [{"name": name, **found[name]} for name in asked]
    table = {"members": members, "flops": config.flops, "row_tokens": tokens.row_tokens}
    attempt.path(TABLE).write_text(json.dumps(table, indent=1) + "\n")
    pictures = plots.draw(table, attempt.path("."))
    attempt.path(PAGE).write_text(page.written(table, pictures, attempt.path(".")), encoding="utf-8")
    return Made(
        files={name: attempt.publish(attempt.path(name).resolve()) for name in (TABLE, PAGE, *pictures)},
        counts={"models": len(members), "targets": config.targets},
        figures={
            f"{each['name']}_hidden_bits": each["hidden_bits"] for each in members if "hidden_bits" in each
        },
        incomplete=any_lost(answers) or any_lost(times),
    )


def _trained(name: FamilyName, model: Model, pieces: int, row_tokens: int) -> dict[str, Any]:
    """How it learned: FLOP and held-out figure at each evaluation, from its training's journal."""
    record, shape = model.record, shape_of(model.config())
    assert shape is not None
    family, recipe = FAMILIES[name], model.config()
    figure = "held_out_bits_per_byte" if family.continues_text else "held_out_loss"
    per_step = recipe["batch_tokens"] * training_flops_per_token(shape, pieces, row_tokens)
    points: dict[int, float] = {}
    for attempt in sorted(model.storage.list(f"{model.base}/attempts")):
        for line in JournalReader(model.storage, f"{model.base}/attempts/{attempt}/journal").read():
            if line["kind"] == "metrics" and figure in line["values"]:
                points[line["step"]] = line["values"][figure]
    return {
        "learning": family.learning,
        "continues_text": family.continues_text,
        "is_recurrent": family.is_recurrent,
        "parameters": int(record.counts["parameters"]),
        "steps": int(record.counts["steps"]),
        "seconds": record.seconds,
        "curve": [[step * per_step, value] for step, value in sorted(points.items())],
        **{
            key: record.figures[key]
            for key in ("held_out_loss", "held_out_bits_per_byte")
            if key in record.figures
        },
    }
