"""The table of all errors that a user can meet, made from their classes: `python -m flows.error_table`.

The cause is a class's docstring, the remedy its `remedy`. The messages are read from the source,
from wherever the class is called; what is filled in at run time is shown as `…`.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import crawler
import flows
import pipeline
from pipeline.errors import InputError, MoinhoError, StageError

PACKAGES = (crawler, pipeline, flows)
HEAD = """# Errors

Every error that a user can meet, with its cause and what to do. This page is made from the code's own
error classes by `python -m flows.error_table > docs/errors.md`; do not edit it by hand. A message says
where the fault is, what was found and what to do; `…` stands for what is filled in. Exit code 2: the
input is wrong, nothing was started. Exit code 1: a stage could not be finished; what was finished stays
in the store, and the message is followed by the path of the stage's log.
"""
FILLED_IN = "…"
BAR = "\\|"


def error_classes() -> list[type[MoinhoError]]:
    """All concrete errors, by the module that has them."""
    for _ in _modules():
        pass
    found: list[type[MoinhoError]] = []
    waiting: list[type[MoinhoError]] = [MoinhoError]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            known = each.__module__.partition(".")[0] in {package.__name__ for package in PACKAGES}
            if known and each not in (InputError, StageError):
                found.append(each)
    return sorted(found, key=lambda each: (each.__module__, each.__name__))


def messages() -> dict[str, list[str]]:
    """Name of the class → the messages that it is raised with, in the order of the source."""
    found: dict[str, list[str]] = {}
    for module in _modules():
        assert module.__file__ is not None
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                text = _text(node.args[0])
                if node.func.id.endswith("Error") and text.strip(FILLED_IN):
                    found.setdefault(node.func.id, []).append(text)
    return found


def table() -> str:
    """The whole page, as Markdown."""
    rows = ["| error | exit | message | cause | what to do |", "|---|---|---|---|---|"]
    told = messages()
    for each in error_classes():
        said = "<br><br>".join(f"`{text.replace('`', chr(39))}`" for text in told.get(each.__name__, []))
        cause = " ".join((each.__doc__ or "").split())
        cells = (f"`{each.__name__}`", str(each.exit_code), said, cause, each.remedy)
        rows.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return HEAD + "\n" + "\n".join(rows) + "\n"


def _modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        for found in sorted(pkgutil.walk_packages(package.__path__, f"{package.__name__}."), key=_name):
            yield importlib.import_module(found.name)


def _name(found: pkgutil.ModuleInfo) -> str:
    return found.name


def _text(node: ast.expr) -> str:
    """A message as far as the source has it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return FILLED_IN


if __name__ == "__main__":
    sys.stdout.write(table())
