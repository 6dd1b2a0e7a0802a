"""Bar charts of the scores, drawn without a display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

WHO = {
    "base": "base model",
    "ngram": "5-gram model",
    "xz": "xz -9, piece by piece",
    "bare_lzma": "xz -9 without its container",
    "xz_whole": "xz -9 on the whole",
    "xz_primed": "xz -9 after the training text",
}
"""Name in scores.json → name in the chart, in the order of the bars."""
MODEL_COLOUR, OTHER_COLOUR = "#2a6f97", "#b8c4cc"


def plot_scores(scores: Mapping[str, Any], folder: Path) -> None:
    """`bits-per-byte.png` and, where next words were foretold, `next-words.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    _bits_per_byte(scores["bits_per_byte"]).savefig(folder / "bits-per-byte.png", dpi=120)
    if scores["next_words"]:
        _next_words(scores["next_words"]).savefig(folder / "next-words.png", dpi=120)


def _bits_per_byte(groups: Mapping[str, Mapping[str, float]]) -> Figure:
    """A panel for all held-out text, and one for each language where there are several."""
    shown = {name: values for name, values in groups.items() if name == "all" or len(groups) > 2}
    figure = Figure(figsize=(7, 0.6 + 2.4 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), squeeze=False)[:, 0]
    for panel, (group, values) in zip(panels, shown.items(), strict=True):
        names = [name for name in WHO if name in values]
        bars = panel.barh(
            [WHO[name] for name in names],
            [values[name] for name in names],
            color=[MODEL_COLOUR if name == "base" else OTHER_COLOUR for name in names],
        )
        panel.bar_label(bars, fmt="%.2f", padding=3)
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_title("held-out text" if group == "all" else group)
    panels[-1].set_xlabel("bits per UTF-8 byte (lower is better)")
    return figure


def _next_words(words: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(7, 1.2 + 0.8 * len(words["places"])), layout="constrained")
    panel = figure.subplots()
    labels, values, colours = [], [], []
    for place, found in words["places"].items():
        for who, share, colour in (
            ("base model", "model_share", MODEL_COLOUR),
            ("commonest words", "unigram_share", OTHER_COLOUR),
        ):
            labels.append(f"{who}, {place} word")
            values.append(100 * found[share])
            colours.append(colour)
    panel.bar_label(panel.barh(labels, values, color=colours), fmt="%.0f %%", padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    sentences = max(found["sentences"] for found in words["places"].values())
    panel.set_xlabel(f"true word among the top {words['top']}, of {sentences} sentences (%)")
    return figure
