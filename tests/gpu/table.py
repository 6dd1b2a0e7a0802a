"""`python -m tests.gpu.table`: how fast one GPU trains models of known sizes, as a table in Markdown.

Rows of 2,048 tokens of one document each, so that attention is counted as it is computed; half a million
tokens for an update. Ten minutes on one H200, most of them compiling. Each model is trained in a process
of its own; one that does not fit is tried with half the rows.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.compute_config import ComputeConfig
from pipeline.models.families import parameters, training_flops_per_token
from pipeline.training.pretrain_config import PretrainConfig

PIECES = 50_304
WARM_UP_STEPS = 2
TIMED_SECONDS, TIMED_STEPS = 12.0, 3
"""So long at least, and so many steps at least."""


@dataclass(frozen=True)
class Size:
    """A model of the table."""

    depth: int
    width: int
    heads: int
    micro_batch_rows: int
    """To begin with."""
    aim: float | None = None
    """MFU that is to be reached in bf16."""
    known: str = ""
    """What others reach."""


SIZES = {
    "124M": Size(12, 768, 12, 32, 0.40, "llm.c about 40 % (8 H100)"),
    "350M": Size(24, 1024, 16, 32, 0.45, "llm-foundry, 760M: 34.9 % (8 H100)"),
    "1.3B": Size(24, 2048, 16, 16, 0.50, "llm-foundry 41.8 % (8 H100)"),
    "toy": Size(1, 64, 1, 2),
}


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    model: str
    precision: str
    parameters: int
    device: str
    micro_batch_rows: int
    attention: str
    fused_loss: bool
    start_seconds: float
    """Until the first step: the model made, compiled, tried."""
    figures: dict[str, float]
    """As a training tells them."""


@dataclass(frozen=True)
class Task:
    model: str
    precision: str
    micro_batch_rows: int
    given: argparse.Namespace


def config_of(task: Task) -> PretrainConfig:
    size = SIZES[task.model]
    batch = max(task.given.batch_tokens, task.micro_batch_rows * task.given.row_tokens)
    return PretrainConfig(
        depth=size.depth,
        width=size.width,
        heads=size.heads,
        batch_tokens=batch,
        precision=task.precision,  # type: ignore[arg-type]
        optimizer=task.given.optimizer,
        steps=10_000,
        prompts=(),
    )


def measure(task: Task) -> Line | None:
    """Train for a while. None if the memory does not suffice."""
    import torch

    from pipeline.store import Attempt, Storage
    from pipeline.training.checkpoint import Checkpoints
    from pipeline.training.group import Group
    from pipeline.training.profile import device_name
    from pipeline.training.synthetic import synthetic_data
    from pipeline.training.worker import assemble

    given, config = task.given, config_of(task)
    compute = ComputeConfig(
        compile=given.compile,
        attention=given.attention,
        fused_loss=given.fused_loss,
        micro_batch_rows=task.micro_batch_rows,
    )
    group = Group.alone(given.device)
    with tempfile.TemporaryDirectory(prefix="moinho-table-") as folder:
        rows = 2 * config.recipe().batch_tokens // given.row_tokens
        data = synthetic_data(Path(folder), pieces=given.pieces, row_tokens=given.row_tokens, rows=rows)
        attempt = Attempt(Storage(folder), "table", task.model, task.precision)
        start = time.monotonic()
        try:
            loop = assemble(
                config, compute, Checkpoints(attempt, "x"), None, data, group, attempt.journal("x")
            )
            ready = time.monotonic()
            with loop.loader:
                loop.train_steps(WARM_UP_STEPS)
                loop.begin_figures()
                begun = time.monotonic()
                while len(loop.recent) < TIMED_STEPS or time.monotonic() - begun < given.seconds:
                    loop.train_steps(1)
        except torch.OutOfMemoryError:
            return None
        return Line(
            model=task.model,
            precision=task.precision,
            parameters=parameters(config.shape(), given.pieces),
            device=device_name(group.device),
            micro_batch_rows=loop.resolved.micro_batch_rows,
            attention=loop.resolved.attention,
            fused_loss=loop.resolved.fused_loss,
            start_seconds=ready - start,
            figures=loop.speed(),
        )


def line_of(model: str, precision: str, given: argparse.Namespace) -> Line:
    """Raises MemoryError if not even one row fits."""
    rows = given.micro_batch_rows or SIZES[model].micro_batch_rows
    while rows:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(measure, Task(model, precision, rows, given)).result()
        if found is not None:
            return found
        sys.stderr.write(f"{model} {precision}: {rows} rows of a micro-batch do not fit\n")
        rows //= 2
    raise MemoryError(f"{model} {precision}: not one row fits")


def as_table(lines: list[Line], row_tokens: int, pieces: int) -> str:
    """Markdown: figures, their ratio to what is aimed at, and fp8 against bf16."""
    head = [
        "model", "precision", "tokens/s", "MFU", "aim", "ratio to aim", "fp8 / bf16", "GPU memory",
        "rows at once", "forward, backward", "update", "start", "others",
    ]  # fmt: skip
    bf16 = {line.model: line.figures["tokens_per_second"] for line in lines if line.precision == "bf16"}
    rows = [head, ["---"] * len(head)]
    for line in lines:
        size, figures = SIZES[line.model], line.figures
        mfu, step = figures.get("mfu"), figures["step_seconds"]
        aim = size.aim if line.precision == "bf16" else None
        gain = figures["tokens_per_second"] / bf16[line.model] if line.model in bf16 else None
        rows.append(
            [
                f"{line.model} ({line.parameters / 1e6:,.0f}M)",
                line.precision,
                f"{figures['tokens_per_second']:,.0f}",
                "" if mfu is None else f"{mfu:.1%}",
                "" if aim is None else f"{aim:.0%}",
                "" if aim is None or mfu is None else f"{mfu / aim:.2f}",
                "" if gain is None or line.precision == "bf16" else f"{gain:.2f}",
                f"{figures.get('gpu_peak_memory_bytes', figures['peak_memory_bytes']) / 1e9:.1f} GB",
                str(line.micro_batch_rows),
                f"{figures['forward_backward_seconds'] / step:.1%}",
                f"{figures['update_seconds'] / step:.1%}",
                f"{line.start_seconds:.0f} s",
                size.known,
            ]
        )
    told = [f"{lines[0].device}, rows of {row_tokens:,} tokens, {pieces:,} pieces, one device", ""]
    return "\n".join([*told, *(f"| {' | '.join(row)} |" for row in rows), ""])


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.table", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(SIZES), default=["124M", "350M", "1.3B"])
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp8"], choices=["bf16", "fp8", "fp32"])
    parser.add_argument("--row-tokens", type=int, default=2048)
    parser.add_argument("--batch-tokens", type=int, default=1 << 19)
    parser.add_argument("--pieces", type=int, default=PIECES)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--micro-batch-rows", type=int, help="in place of each model's own")
    parser.add_argument("--attention", choices=["dense", "flex"])
    parser.add_argument("--fused-loss", action=argparse.BooleanOptionalAction)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction)
    parser.add_argument("--seconds", type=float, default=TIMED_SECONDS, help="that each is timed for")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="folder for table.md and lines.jsonl, written line by line")
    return parser


def main(words: list[str]) -> None:
    given = parser().parse_args(words)
    lines: list[Line] = []
    for model in given.models:
        for precision in given.precisions:
            try:
                lines.append(line_of(model, precision, given))
            except Exception as error:  # the other lines are worth having
                sys.stderr.write(f"{model} {precision}: {type(error).__name__}: {error}\n")
                continue
            _write(lines, given)
    if not lines:
        sys.exit("nothing could be measured")
    sys.stdout.write(as_table(lines, given.row_tokens, given.pieces))


def _write(lines: list[Line], given: argparse.Namespace) -> None:
    found: dict[str, Any] = asdict(lines[-1])
    per_token = training_flops_per_token(
        config_of(Task(lines[-1].model, "bf16", 1, given)).shape(), given.pieces, given.row_tokens
    )
    sys.stderr.write(json.dumps(found | {"flops_per_token": per_token}) + "\n")
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "table.md").write_text(as_table(lines, given.row_tokens, given.pieces))
        (given.out / "lines.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1:])
