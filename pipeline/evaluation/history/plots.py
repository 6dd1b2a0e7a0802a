"""The pictures of the history, drawn without a display."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from pipeline.evaluation.history.measure import exponent

NAMES = {
    "ngram": "n-gram",
    "rnn": "RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "gpt2": "GPT-2",
    "bert": "BERT",
    "roberta": "RoBERTa",
    "t5": "T5",
    "bart": "BART",
    "llama": "LLaMA",
    "mistral": "Mistral",
    "qwen": "Qwen",
    "falcon": "Falcon",
}
COLOURS = {
    "ngram": "#777777",
    "rnn": "#e0a458",
    "gru": "#c8553d",
    "lstm": "#8f2d56",
    "gpt2": "#588157",
    "bert": "#2a9d8f",
    "roberta": "#457b9d",
    "t5": "#8a5a9e",
    "bart": "#b56576",
    "llama": "#1d3557",
    "mistral": "#3a86ff",
    "qwen": "#00798c",
    "falcon": "#7f5539",
}
Members = Sequence[Mapping[str, Any]]
Rows = Sequence[Sequence[float]]


def draw(table: Mapping[str, Any], folder: Path) -> list[str]:
    """Every picture that there is something to show in; their names."""
    members: Members = table["members"]
    drawn = []
    for name, (of_what, draw_one) in PICTURES.items():
        shown = [member for member in members if of_what in member]
        if shown:
            figure = Figure(figsize=(8, 5), layout="constrained")
            draw_one(figure, shown, members)
            figure.savefig(folder / name, dpi=110)
            drawn.append(name)
    return drawn


def _axes(figure: Figure, title: str, across: str, up: str, log: str = "x") -> Axes:
    axes = figure.subplots()
    _label(axes, title, across, up, log)
    return axes


def _label(axes: Axes, title: str, across: str, up: str, log: str) -> None:
    if "x" in log:
        axes.set_xscale("log")
    if across.startswith(("tokens", "rows")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
    if "y" in log:
        axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Axes, member: Mapping[str, Any], points: Rows, label: str | None = None) -> None:
    across, up = zip(*points, strict=True)
    name = member["name"]
    axes.plot(across, up, color=COLOURS[name], label=label or NAMES[name], marker="o", markersize=3)


def _compute(figure: Figure, shown: Members, members: Members) -> None:
    axes = _axes(figure, "loss against compute", "training compute (FLOP)", "held-out bits per UTF-8 byte")
    for member in shown:
        if member["continues_text"]:
            _line(axes, member, [point for point in member["curve"] if point[0] > 0])
    for member in members:
        if member["name"] == "ngram":
            axes.axhline(member["held_out_bits_per_byte"], color=COLOURS["ngram"], label="n-gram", ls="--")
    axes.legend(frameon=False)


def _context(figure: Figure, shown: Members, members: Members) -> None:
    axes = _axes(
        figure, "what more context brings", "tokens of context", "nats of the next token (the same for all)"
    )
    for member in shown:
        _line(axes, member, member["by_context"])
    axes.legend(frameon=False)


def _gradients(figure: Figure, shown: Members, members: Members) -> None:
    both = figure.subplots(1, 2, sharey=True)
    for axes, when in zip(both, ("untrained", "trained"), strict=True):
        _label(axes, f"gradient, {when}", "tokens back", "norm, as a share of the last token's", "xy")
        for member in shown:
            _line(axes, member, member["gradients"][when])
    both[1].set_ylabel("")
    both[0].legend(frameon=False)


def _hidden(figure: Figure, shown: Members, members: Members) -> None:
    axes = _axes(figure, "what one hidden token costs", "bits (fewer are better)", "", log="")
    names = [NAMES[member["name"]] for member in reversed(shown)]
    bits = [member["hidden_bits"] for member in reversed(shown)]
    bars = axes.barh(names, bits, color=[COLOURS[member["name"]] for member in reversed(shown)])
    axes.bar_label(bars, fmt="%.2f", padding=3)


def _cost(figure: Figure, shown: Members, members: Members) -> None:
    both = figure.subplots(1, 2)
    for axes, place, title, unit in (
        (both[0], 1, "time of a row", "seconds, forward and backward"),
        (both[1], 2, "memory of a row", "bytes kept for the backward pass"),
    ):
        _label(axes, title, "tokens of the row", unit, "xy")
        for member in shown:
            points = [(row[0], row[place]) for row in member["by_length"]]
            label = f"{NAMES[member['name']]}: length to the {exponent(points):.2f}"
            _line(axes, member, points, label=label)
        axes.legend(frameon=False, fontsize=8)


def _speed(figure: Figure, shown: Members, members: Members) -> None:
    axes = _axes(
        figure, "one after another, or all at once", "rows at a time", "tokens per second, trained", log="xy"
    )
    for member in shown:
        _line(axes, member, member["by_rows"])
    axes.legend(frameon=False)


PICTURES: Mapping[str, tuple[str, Callable[[Figure, Members, Members], None]]] = {
    "loss-against-compute.png": ("curve", _compute),
    "loss-against-context.png": ("by_context", _context),
    "hidden-token.png": ("hidden_bits", _hidden),
    "gradients.png": ("gradients", _gradients),
    "cost-of-length.png": ("by_length", _cost),
    "rows-at-a-time.png": ("by_rows", _speed),
}
"""By file: the figure that a member has to have to be in it, and what draws it."""
