"""The comparison of vocabularies as a page, and as rows for a terminal."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.tokens.comparison import BY_LANGUAGE, TOLD, ComparisonConfig
from pipeline.tracking.charts import COLOUR
from pipeline.tracking.report_pages import drawing, picture, table, whole_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = Mapping[str, Mapping[str, Any]]
DRAWN = ("bytes_per_token", "kept_pieces", "misspelt_growth", "learning_seconds", "encoding_mb_per_second")


def page(found: Found, config: ComparisonConfig) -> str:
    """The whole file."""
    languages = sorted({language for values in found.values() for language in values["languages"]})
    note = (
        f"Each was learned with {config.vocabulary.pieces:,} pieces from the same sample of the training "
        f"documents (at most {config.vocabulary.sample_bytes:,} bytes), and tried on held-out ones. Of the "
        f"words of four letters and more {config.misspelt_share:.0%} were misspelt by one edit each: two "
        "letters swapped, one dropped, doubled, or replaced by a neighbour on the keyboard."
    )
    parts = ["<h1>Vocabularies compared</h1>", f'<p class="note">{escape(note)}</p>']
    parts.append(
        table(
            ("", *found, "meaning"), [(*row, TOLD[name]) for name, row in zip(TOLD, rows(found), strict=True)]
        )
    )
    with drawing():
        for name in DRAWN:
            parts += [f"<h2>{escape(_readable(name))}</h2>", picture(_bars(found, name))]
        for name in BY_LANGUAGE if len(languages) > 1 else ():
            parts += [
                f"<h2>{escape(_readable(name))}, by language</h2>",
                table(("", *found), [_row(language, _of(found, language), name) for language in languages]),
                picture(_by_language(found, name, languages)),
            ]
    return whole_page("Vocabularies compared", parts)


def rows(found: Found) -> list[list[str]]:
    """A row for each figure of TOLD: its name, then what each model has."""
    return [_row(_readable(name), list(found.values()), name) for name in TOLD]


def _of(found: Found, language: str) -> list[Mapping[str, Any]]:
    return [values["languages"].get(language, {}) for values in found.values()]


def _row(label: str, models: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    return [label, *(_number(values.get(name)) for values in models)]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _bars(found: Found, name: str) -> "Figure":
    from matplotlib.figure import Figure

    values = {model: each[name] or 0 for model, each in found.items()}
    figure = Figure(figsize=(8, 0.8 + 0.32 * len(values)), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.barh(list(values), list(values.values()), color=COLOUR), fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(TOLD[name])
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _by_language(found: Found, name: str, languages: Sequence[str]) -> "Figure":
    """A group of bars for each language, one for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(found)
    for number, (model, values) in enumerate(found.items()):
        heights = [values["languages"].get(language, {}).get(name) or 0 for language in languages]
        axes.bar([place + number * width for place in range(len(languages))], heights, width, label=model)
    axes.set_xticks([place + width * (len(found) - 1) / 2 for place in range(len(languages))], languages)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
