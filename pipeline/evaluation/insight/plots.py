"""Pictures of what insight finds, drawn without a display.

L layers, H heads, W words.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluation.insight.candidates import Expected
from pipeline.evaluation.insight.neighbours import Neighbours
from pipeline.evaluation.insight.occlusion import Occlusion
from pipeline.evaluation.insight.similarity import Similarity
from pipeline.evaluation.insight.spelled import Spelled, Word
from pipeline.evaluation.plots import MODEL_COLOUR, OTHER_COLOUR

AGAINST_COLOUR = "#c8553d"
CANDIDATES_SHOWN = 3
DPI = 120


def plot_expectations(expected: Sequence[Expected], path: Path) -> None:
    """A bar for each token: how likely it was, beside what was likelier."""
    figure = Figure(figsize=(8, 0.9 + 0.3 * len(expected)), layout="constrained")
    panel = figure.subplots()
    labels = [_seen(each.token) if each.token else "… (what comes)" for each in expected]
    places = range(len(expected))
    panel.barh(places, [each.probability or 0.0 for each in expected], color=MODEL_COLOUR)
    panel.set_yticks(list(places), labels)
    for place, each in zip(places, expected, strict=True):
        told = "   ".join(f"{_seen(name)} {share:.0%}" for name, share in each.candidates[:CANDIDATES_SHOWN])
        panel.text(1.02, place, told, va="center", fontsize=8, parse_math=False)
    _bars(panel)
    panel.set_xlim(0, 1)
    panel.set_xlabel("probability of what came; on the right, what was likeliest")
    _save(figure, path)


def plot_attention(
    attention_LHW: NDArray[np.float32], spelled: Spelled, word: Word, layer: int | None, path: Path
) -> None:
    """From one word to every word before it: a row for each layer, or with `layer` (from 1) for its heads."""
    rows_XW = attention_LHW.mean(1) if layer is None else attention_LHW[layer - 1]
    kind = "layer" if layer is None else f"layer {layer}, head"
    seen = [at for at, other in enumerate(spelled.words) if other.start <= word.start]
    figure = Figure(figsize=(2.5 + 0.55 * len(seen), 1.6 + 0.32 * len(rows_XW)), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(rows_XW[:, seen], aspect="auto", cmap="Blues", vmin=0)
    panel.set_xticks(range(len(seen)), [spelled.words[at].text for at in seen], rotation=60, ha="right")
    panel.set_yticks(range(len(rows_XW)), [f"{kind} {number}" for number in range(1, len(rows_XW) + 1)])
    figure.colorbar(image, label="share of attention")
    panel.set_title(f"from “{word.text}”", parse_math=False)
    _save(figure, path)


def plot_similarity(found: Similarity, one: Word, other: Word, path: Path) -> None:
    """Two lines over the layers: the word with itself, and any two words."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    layers = range(len(found.same_word))
    name = f"“{one.text}”" if one.text == other.text else f"“{one.text}” and “{other.text}”"
    panel.plot(layers, found.same_word, marker="o", color=MODEL_COLOUR, label=name)
    panel.plot(layers, found.other_words, marker="o", color=OTHER_COLOUR, label="two different words")
    panel.set_xticks(list(layers), ["embedding", *map(str, list(layers)[1:])])
    panel.set_xlabel("after layer")
    panel.set_ylabel("cosine")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    _save(figure, path)


def plot_occlusion(spelled: Spelled, found: Occlusion, prediction: str, path: Path) -> None:
    """A bar for each word in the order of the text."""
    figure = Figure(figsize=(7, 1.2 + 0.3 * len(spelled.words)), layout="constrained")
    panel = figure.subplots()
    colours = [MODEL_COLOUR if lost >= 0 else AGAINST_COLOUR for lost in found.lost]
    places = range(len(spelled.words))
    panel.bar_label(panel.barh(places, found.lost, color=colours), fmt="%+.2f", padding=3)
    panel.set_yticks(list(places), [word.text for word in spelled.words])
    _bars(panel)
    panel.margins(x=0.15)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_xlabel("bits lost without the word")
    panel.set_title(f"what “{_seen(prediction)}” hangs on ({found.bits:.2f} bits)", parse_math=False)
    _save(figure, path)


def plot_neighbours(word: str, found: Neighbours, path: Path) -> None:
    """A bar for each of the nearest words."""
    _ranking(dict(found.nearest), f"nearest to “{word}”", "cosine", path)


def plot_fillings(text: str, found: Mapping[str, float], path: Path) -> None:
    """A bar for each of the likeliest fillings of a gap."""
    _ranking(found, text, "probability", path)


def _ranking(values: Mapping[str, float], title: str, unit: str, path: Path) -> None:
    figure = Figure(figsize=(6, 1.2 + 0.3 * len(values)), layout="constrained")
    panel = figure.subplots()
    places = range(len(values))
    panel.bar_label(panel.barh(places, list(values.values()), color=MODEL_COLOUR), fmt="%.2f", padding=3)
    panel.set_yticks(list(places), [_seen(name) for name in values])
    _bars(panel)
    panel.margins(x=0.15)
    panel.set_xlabel(unit)
    panel.set_title(title, parse_math=False)
    _save(figure, path)


def _bars(panel: Axes) -> None:
    panel.invert_yaxis()
    panel.spines[["top", "right"]].set_visible(False)


def _seen(text: str) -> str:
    """With its spaces, line ends and signs that have no shape to be seen."""
    shapes = {" ": "␣", "\n": "⏎", "\t": "⇥"}
    return "".join(
        shapes.get(sign) or (sign if sign.isprintable() else f"<{ord(sign):02X}>") for sign in text
    )


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
