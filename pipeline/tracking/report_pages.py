"""Reports as pages: one HTML file, its pictures in it as SVG, that loads nothing from elsewhere."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse }
th, td { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto }
p.note { color: #666 }
h3 { font-size: 1rem; margin-bottom: 0 }
li code { overflow-wrap: anywhere }
"""
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">
<title>{title}</title><style>{style}</style></head><body>
"""


def whole_page(title: str, parts: Sequence[str]) -> str:
    """The whole file, from its parts in HTML."""
    return HEAD.format(title=escape(title), style=STYLE) + "\n".join(parts) + "\n</body></html>\n"


@contextmanager
def drawing() -> Iterator[None]:
    """Pictures that are drawn inside: equal ones are equal bytes; text stays text, and a dollar sign one."""
    import matplotlib

    wanted = {"svg.hashsalt": "moinho", "svg.fonttype": "none", "text.parse_math": False}
    with matplotlib.rc_context(wanted):  # type: ignore[arg-type]
        yield


def picture(figure: "Figure") -> str:
    """The figure as an svg element."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns whose first row is a number stand to the right."""
    kinds = [
        ' class="number"' if any(letter.isdigit() for letter in cell) and number else ""
        for number, cell in enumerate(rows[0] if rows else ())
    ]
    head = (
        "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, names, strict=True))
        if rows
        else ""
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"
