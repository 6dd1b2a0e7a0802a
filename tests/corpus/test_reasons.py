"""The page of reasons is what the code says, and there is no reason in the code that is not on it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from pipeline.corpus.duplicates import KEYS
from pipeline.corpus.quality import RULES
from pipeline.corpus.reasons import REASONS, page

ROOT = Path(__file__).parents[2]
PLACES = {"Failure": 0, "refused": 1, "drop": 1, "add": 0}
"""Calls that give a reason, and which argument it is."""


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")
    assert written == page(), "make it anew: python -m pipeline.corpus.reasons > docs/reasons.md"


def test_the_reasons_in_the_code_are_those_on_the_page() -> None:
    by_rules = {name for rule in RULES.values() for name in (rule.too_low, rule.too_high)}
    found = {
        reason
        for path in (ROOT / "pipeline/corpus").rglob("*.py")
        for reason in _reasons_in(ast.parse(path.read_text(encoding="utf-8")))
    }
    by_comparison = {f"{key}{earlier}" for key in KEYS for earlier in ("", "-earlier")}
    assert found | by_rules | by_comparison == set(REASONS)


def _reasons_in(tree: ast.AST) -> Iterator[str]:
    """What is given as a reason: in a call, as an item `reason` of a dict, as a class's `reason`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=given) if name in PLACES:
                yield from _texts(given[PLACES[name] : PLACES[name] + 1])
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "reason":
                        yield from _texts([value])
            case ast.Assign(targets=[ast.Name(id="reason")], value=value):
                yield from _texts([value])


def _texts(values: list[ast.expr]) -> Iterator[str]:
    for value in values:
        chosen = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
        yield from (each.value for each in chosen if isinstance(each, ast.Constant))
