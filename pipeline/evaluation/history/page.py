"""The history as one page, in English and Portuguese: pictures, and what they show.

Every sentence is chosen by what was measured: where a newer family loses at this compute, it says so.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluation.history.measure import exponent
from pipeline.evaluation.history.plots import NAMES
from pipeline.evaluation.history.words import TITLES, WORDS

if TYPE_CHECKING:
    from jinja2 import Template

LANGUAGES = {"en": "English", "pt": "Português"}
FLAT = 0.02
"""Nats: more context that brings less than this brings nothing."""
Member = Mapping[str, Any]


def written(table: Mapping[str, Any], pictures: Sequence[str], folder: Path) -> str:
    """The whole file, which loads nothing."""
    images = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in pictures}
    told = {language: sentences(table, language) for language in LANGUAGES}
    rows = [[NAMES[each["name"]], *_row(each)] for each in table["members"]]
    return _template().render(
        languages=LANGUAGES, titles=TITLES, images=images, told=told, rows=rows, flops=f"{table['flops']:.2g}"
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("pipeline.evaluation", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "history.html.jinja"
    )


def _row(member: Member) -> list[str]:
    def shown(key: str, form: str) -> str:
        return format(member[key], form) if key in member else "–"

    return [
        shown("parameters", ",d"),
        shown("seconds", ".0f"),
        shown("held_out_bits_per_byte", ".3f"),
        shown("hidden_bits", ".2f"),
    ]


def sentences(table: Mapping[str, Any], language: str) -> dict[str, list[str]]:
    """Picture → what it shows, in the language."""
    words, members = WORDS[language], {each["name"]: each for each in table["members"]}
    return {
        "loss-against-compute.png": _compute(members, words),
        "loss-against-context.png": _context(members, words),
        "hidden-token.png": _hidden(members, words),
        "gradients.png": _gradients(members, words),
        "cost-of-length.png": _cost(members, words),
        "rows-at-a-time.png": _speed(members, words),
    }


def _compute(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    ranked = sorted(
        (each for each in members.values() if "held_out_bits_per_byte" in each),
        key=lambda each: float(each["held_out_bits_per_byte"]),
    )
    order = ", ".join(f"{NAMES[each['name']]} ({each['held_out_bits_per_byte']:.3f})" for each in ranked)
    told = [words["ranked"].format(order=order)]
    place = [each["name"] for each in ranked].index("ngram")
    beaten = [NAMES[each["name"]] for each in ranked[place + 1 :]]
    told.append(words["ngram_beats" if beaten else "ngram_last"].format(names=", ".join(beaten)))
    for newer, older in (("lstm", "rnn"), ("gpt2", "lstm"), ("llama", "gpt2")):
        if {newer, older} <= members.keys():
            gain = members[older]["held_out_bits_per_byte"] - members[newer]["held_out_bits_per_byte"]
            told.append(
                words["newer_wins" if gain > 0 else "newer_loses"].format(
                    newer=NAMES[newer], older=NAMES[older], gain=f"{abs(gain):.3f}"
                )
            )
    return told


def useful_context(points: Sequence[Sequence[float]]) -> int:
    """The context from which on more brings less than FLAT."""
    best = min(nats for _, nats in points)
    return int(next(length for length, nats in points if nats - best < FLAT))


def _context(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    told = []
    for each in members.values():
        if "by_context" in each:
            points = each["by_context"]
            told.append(
                words["context"].format(
                    name=NAMES[each["name"]],
                    tokens=useful_context(points),
                    one=f"{points[0][1]:.2f}",
                    all=f"{min(nats for _, nats in points):.2f}",
                    longest=int(points[-1][0]),
                )
            )
    return told


def _hidden(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    both = [
        each for each in members.values() if "hidden_bits" in each and not each.get("continues_text", True)
    ]
    left = [each for each in members.values() if "hidden_bits" in each and each.get("continues_text", True)]
    if not both or not left:
        return []
    best, other = (min(part, key=lambda each: float(each["hidden_bits"])) for part in (both, left))
    wins = best["hidden_bits"] < other["hidden_bits"]
    return [
        words["both_sides_win" if wins else "both_sides_lose"].format(
            best=NAMES[best["name"]],
            bits=f"{best['hidden_bits']:.2f}",
            other=NAMES[other["name"]],
            more=f"{other['hidden_bits']:.2f}",
        )
    ]


def _gradients(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    return [
        words["gradient"].format(
            name=NAMES[each["name"]],
            untrained=f"{each['gradients']['untrained'][-1][1]:.1e}",
            trained=f"{each['gradients']['trained'][-1][1]:.1e}",
            distance=each["gradients"]["trained"][-1][0],
        )
        for each in members.values()
        if "gradients" in each
    ]


def _cost(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    told = []
    for each in members.values():
        if "by_length" in each:
            time, memory = (exponent([(row[0], row[place]) for row in each["by_length"]]) for place in (1, 2))
            told.append(
                words["cost"].format(name=NAMES[each["name"]], time=f"{time:.2f}", memory=f"{memory:.2f}")
            )
    return told


def _speed(members: Mapping[str, Member], words: Mapping[str, str]) -> list[str]:
    told = []
    for each in members.values():
        if "by_rows" in each:
            first, last = each["by_rows"][0], each["by_rows"][-1]
            told.append(
                words["speed"].format(
                    name=NAMES[each["name"]],
                    one=f"{first[1]:,.0f}",
                    many=f"{last[1]:,.0f}",
                    rows=int(last[0]),
                    factor=f"{last[1] / first[1]:.1f}",
                )
            )
    return told
