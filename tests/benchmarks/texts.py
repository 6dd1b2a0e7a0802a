"""Real text that machines with moinho's libraries have: documentation, English and some Portuguese."""

import ast
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser

from tests.tokens.texts import PORTUGUESE, documentation

PACKAGES = ("numpy", "pandas")
LEFT_OUT = {"test", "tests", "site-packages", "idlelib"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DEBIAN_FAQ = Path("/usr/share/doc/debian/FAQ/pt")


def texts() -> list[str]:
    """A document per chapter of Python's manual, per module's docstrings, per page of Debian's questions
    and answers in Portuguese (where that is installed). About 5 MB."""
    folders = [Path(sysconfig.get_path("stdlib")), *map(_folder, PACKAGES)]
    return [*documentation(), *(text for folder in folders for text in _docstrings(folder)), *_portuguese()]


def docstrings_of(package: str) -> list[str]:
    """A document per module of an installed package: all its docstrings."""
    return list(_docstrings(_folder(package)))


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _docstrings(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if LEFT_OUT.isdisjoint(path.relative_to(folder).parts):
            tree = ast.parse(path.read_bytes())
            found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
            if text := "\n\n".join(docstring for docstring in found if docstring):
                yield text


def _portuguese() -> Iterator[str]:
    yield PORTUGUESE
    for path in sorted(DEBIAN_FAQ.glob("*.html")):
        body = LexborHTMLParser(path.read_text()).body
        if body is not None:
            yield body.text(separator="\n")
