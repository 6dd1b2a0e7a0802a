"""`moinho profile`: a few steps of a configuration's pretraining, and a page: where the time goes."""

import datetime
import io
from collections.abc import Mapping
from dataclasses import dataclass

from flows.planning import planned_artifacts
from flows.web_to_model import WebToModel
from pipeline.compute import Compute
from pipeline.store import Attempt, Storage
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.profile import (
    TRACE,
    WARM_UP_STEPS,
    Profile,
    ProfileJob,
    profile_worker,
    read,
)

SUMMARY, PICTURE = "summary.md", "summary.png"
PARTS = {
    "loader_wait": "waiting for the batch",
    "forward_backward": "forward and backward",
    "reduce": "gradients brought together, norm, clipping",
    "update": "optimizer",
}
"""Part of a step → what it is, in their order."""
SHOWN = 15
COLOUR = "#2a6f97"


@dataclass(frozen=True)
class Profiled:
    """What came out, and where it lies."""

    profile: Profile
    folder: str
    """With the trace, the page and its picture."""


def profile(config: WebToModel, steps: int, out: str) -> Profiled:
    """Train a few steps through Ray, on the rows of the store or else on noise; write trace and page.

    `out`: a folder that all workers see, or an object store's URL.
    """
    job = _job(config, steps, out)
    compute = Compute(config.compute)
    try:
        compute.train(profile_worker, {"job": job}, job.attempt)
    finally:
        compute.stop()
    found, storage, base = read(job.attempt), job.attempt.storage, job.attempt.base
    storage.create(f"{base}/{SUMMARY}", summary(config.name, found).encode())
    storage.create(f"{base}/{PICTURE}", picture(found))
    trace = storage.read(f"{job.attempt.folder}/{TRACE}")
    storage.create(f"{base}/{TRACE}", trace)
    storage.remove(f"{base}/attempts")
    return Profiled(found, storage.full(base))


def _job(config: WebToModel, steps: int, out: str) -> ProfileJob:
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    made = {artifact.stage: artifact for artifact in planned_artifacts(config)}
    tokens, vocabulary = made[Tokens.stage], made[Vocabulary.stage]
    assert isinstance(tokens, Tokens)
    assert isinstance(vocabulary, Vocabulary)
    in_store = tokens.exists() and vocabulary.exists()
    return ProfileJob(
        attempt=Attempt(Storage(out), config.name, stamp, "workers"),
        config=long_enough(config.pretrain, WARM_UP_STEPS + 2 * steps),
        compute=config.compute,
        steps=steps,
        rows_of=(tokens, vocabulary) if in_store else None,
        pieces=vocabulary.pieces,
        row_tokens=tokens.row_tokens,
    )


def long_enough(config: PretrainConfig, steps: int) -> PretrainConfig:
    """The same training, of so many steps at least."""
    if config.recipe().steps >= steps:
        return config
    return PretrainConfig(**(config.model_dump(exclude={"warmup_steps"}) | {"steps": steps}))


def parts_of(found: Profile) -> dict[str, float]:
    """Seconds of a step by part, with what is left for everything else."""
    parts = {PARTS[name]: found.figures.get(f"{name}_seconds", 0.0) for name in PARTS}
    return parts | {"the rest": max(0.0, found.figures["step_seconds"] - sum(parts.values()))}


def summary(name: str, found: Profile) -> str:
    """One page of Markdown."""
    figures, step = found.figures, found.figures["step_seconds"]
    told = {
        "device": f"{found.workers} × {found.device}",
        "parameters": f"{found.parameters:,}",
        "rows": found.rows,
        "computed by": ", ".join(
            f"{key} {value}" for key, value in found.resolved.items() if key != "device"
        ),
        "tokens per second": f"{figures['tokens_per_second']:,.0f}",
        "MFU": f"{figures['mfu']:.1%}" if "mfu" in figures else "not known: no peak for this device",
        "a step": f"{step * 1e3:,.1f} ms (mean of {found.steps}, without the profiler)",
        "memory of rank 0 at most": _bytes(
            figures.get("gpu_peak_memory_bytes", figures["peak_memory_bytes"])
        ),
        "before the first step": f"{found.compile_seconds:.1f} s (model made, compiled)",
    }
    return "\n".join(
        [
            f"# Where the time of {name}'s pretraining goes",
            "",
            *_table(("", ""), told.items()),
            "",
            f"![parts and kinds of work]({PICTURE})",
            "",
            "## By part of a step",
            "",
            *_table(
                ("part", "ms", "share"),
                (
                    (part, f"{seconds * 1e3:,.1f}", f"{seconds / step:.1%}")
                    for part, seconds in parts_of(found).items()
                ),
            ),
            "",
            "## By kind of work",
            "",
            f"Of the operations' own time, under the profiler and over all threads of rank 0: "
            f"{found.operations_seconds * 1e3:,.1f} ms a step, which is not what a step takes without it.",
            "",
            *_table(("kind", "share"), ((kind, f"{share:.1%}") for kind, share in found.kinds.items())),
            "",
            "## The operations that take most",
            "",
            *_table(("operation", "kind", "share of that time", "ms a step", "calls a step"), _lines(found)),
            "",
            f"All of it by time: open `{TRACE}` in https://ui.perfetto.dev or chrome://tracing.",
            "",
        ]
    )


def _lines(found: Profile) -> list[tuple[str, ...]]:
    steps, lines = found.steps, list[tuple[str, ...]]()
    for each in found.operations[:SHOWN]:
        own = each.seconds / steps
        share = f"{own / found.operations_seconds:.1%}"
        calls = f"{each.calls / steps:,.0f}"
        lines.append((f"`{each.name[:80]}`", each.kind, share, f"{own * 1e3:,.2f}", calls))
    return lines


def _table(head: tuple[str, ...], lines: object) -> list[str]:
    rows = [head, tuple("---" for _ in head), *lines]  # type: ignore[misc]
    return [f"| {' | '.join(row)} |" for row in rows]


def _bytes(amount: float) -> str:
    return f"{amount / 1e9:,.2f} GB"


def picture(found: Profile) -> bytes:
    """Bars of the parts of a step and of the kinds of work, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2)
    _bars(above, {part: 1e3 * seconds for part, seconds in parts_of(found).items()}, "ms of a step", "%.1f")
    _bars(below, {kind: 100 * share for kind, share in found.kinds.items()}, "% of operations' time", "%.0f")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def _bars(panel: object, values: Mapping[str, float], unit: str, form: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    panel.bar_label(panel.barh(list(values), list(values.values()), color=COLOUR), fmt=form, padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(unit)
