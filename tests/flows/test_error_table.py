"""docs/errors.md is what the classes say, and no error is in it that no test has met."""

import ast
from pathlib import Path

import pytest

from flows.error_table import error_classes, messages, table
from pipeline.errors import InputError, MoinhoError

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert page == table(), "make it anew: python -m flows.error_table > docs/errors.md"


def test_every_error_is_met_in_a_test() -> None:
    """Tests name the error that they expect; an import alone does not count."""
    named = {
        node.id if isinstance(node, ast.Name) else node.attr
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert sorted({each.__name__ for each in error_classes()} - named) == []


def test_every_error_has_a_message_of_its_own() -> None:
    names = [each.__name__ for each in error_classes()]
    assert len(names) == len(set(names)), "two errors have one name"
    assert sorted(set(names) - set(messages())) == []


def test_an_error_without_a_cause_or_a_remedy_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="NamelessError needs a docstring"):
        type("NamelessError", (InputError,), {"remedy": "Do something."})
    with pytest.raises(TypeError, match="and a remedy"):
        type("HelplessError", (InputError,), {"__doc__": "Something is wrong."})
    assert issubclass(InputError, MoinhoError)
