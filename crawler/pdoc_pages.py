"""A child process that renders documentation with pdoc: a line of JSON in, a page and a line of JSON out.

It imports what it documents, which may hang or crash; so it runs where it can be killed, and says
on standard output what it begins and what it has finished. It ends when its standard input closes.

Read on standard input, one line: `{"entry", "exclude", "skip", "done", "output", "least_characters"}`.
Written on standard output: `{"begin": module}`, then `{"end": module, "outcome": ..., "page": path}`;
a module that was rendered before (`done`) is imported again, so that what it said is not repeated.
A full disk is no fault of a module: `{"full": errno, "path": file}`, and nothing more.
"""

import errno
import importlib.util
import json
import os
import pkgutil
import random
import re
import secrets
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pdoc.doc
import pdoc.doc_ast
import pdoc.extract
import pdoc.render

from crawler.sources import NOT_DOCUMENTATION

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{4,}|\b0x[0-9a-f]{12,16}\b")
"""Memory addresses, as in `<function sum at 0x7f0c3b2a1d00>`: they differ at every start."""
FULL = (errno.ENOSPC, errno.EDQUOT)
WORD = re.compile(r"[^\W\d_]{2,}")
NUMPY_STYLE = re.compile(r"^\s*(Parameters|Returns|Yields|Raises|Notes|Examples|See Also)\s*\n\s*-{3,}", re.M)
GOOGLE_STYLE = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Example|Examples|Shape):\s*$", re.M)


def main() -> None:
    warnings.simplefilter("ignore")
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever an import prints must not mix with the reports
    task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pdoc.render.configure(include_undocumented=False, show_source=False, search=False)
    # Reading sources takes four fifths of pdoc's time (it parses a whole file again for each of its
    # classes) and is for comments on variables alone, which are few.
    pdoc.doc_ast.get_source = lambda obj: ""
    # numpy's unseeded generators begin here; scipy draws the numbers in its examples when imported.
    secrets.randbits = lambda k: random.getrandbits(k)
    random.seed(0)
    for report in render(**task):
        reports.write(json.dumps(report) + "\n")
        reports.flush()
    reports.flush()
    os._exit(0)  # some libraries wait for their threads for ever


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def render(
    entry: str, exclude: list[str], skip: list[str], done: list[str], output: str, least_characters: int
) -> Iterator[dict[str, str]]:
    """Render `entry` and its submodules into the folder `output`, yielding what begins and ends."""
    said: set[str] = set()
    for name in module_names(entry, exclude):
        if name in skip:
            continue
        yield {"begin": name}
        random.seed(name)  # markdown2 hides mail addresses behind a choice of digits
        try:
            module = pdoc.doc.Module.from_name(name)
            characters = keep_what_is_new(module, said)
            if name in done:
                continue
            if characters < least_characters:
                yield {"end": name, "outcome": "few-characters"}
                continue
            page = f"{name.replace('.', '/')}.html"
            write_page(module, Path(output) / page)
        except (Exception, SystemExit) as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.errno in FULL:
                yield {"full": str(cause.errno), "path": str(cause.filename or output)}
                return
            reason = f"{type(cause).__name__}: {cause}".splitlines()[0][:200]
            yield {"end": name, "outcome": "error", "reason": reason}
            continue
        yield {"end": name, "outcome": "page", "page": page}


def module_names(entry: str, exclude: list[str]) -> list[str]:
    """`entry` and all its submodules, deepest first, private ones too: they hold what the public re-export.

    Only packages are imported to find them. Raises nothing: what cannot be imported is left to the caller.
    """
    found = [name for name in _walk(entry) if not any(_is_below(name, left_out) for left_out in exclude)]
    return sorted(found, key=lambda name: (-name.count("."), name))


def _walk(name: str) -> Iterator[str]:
    yield name
    try:
        with pdoc.extract.mock_some_common_side_effects():
            spec = importlib.util.find_spec(name)
    except (Exception, SystemExit):
        return
    folders = (spec.submodule_search_locations if spec else None) or []
    for below in pkgutil.iter_modules(folders, f"{name}."):
        inside = below.name[len(name) :]
        if not NOT_DOCUMENTATION.search(inside):
            yield from _walk(below.name) if below.ispkg else [below.name]


def _is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def keep_what_is_new(module: pdoc.doc.Module, said: set[str]) -> int:
    """Hide members whose docstring was on an earlier page (re-exports, inherited texts). Characters left.

    pdoc leaves out members without a docstring, so emptying it hides the member.
    """
    characters = len(module.docstring)
    for doc in _public(module):
        text = " ".join(doc.docstring.split())
        if text in said:
            doc.docstring = ""
        elif text:
            said.add(text)
            characters += len(text)
    return characters


def _public(namespace: Any) -> Iterator[Any]:
    for doc in namespace.own_members:
        if doc.kind == "module" or (doc.name.startswith("_") and doc.name != "__init__"):
            continue
        yield doc
        if doc.kind == "class" and doc.docstring:
            yield from _public(doc)


def write_page(module: pdoc.doc.Module, path: Path) -> None:
    pdoc.render.env.globals["docformat"] = docstring_style(module)
    html = pdoc.render.html_module(module, {module.modulename: module})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ADDRESS.sub("", html).encode("utf-8", "replace"))


def docstring_style(module: pdoc.doc.Module) -> str:
    """The style that most section headings are written in: pdoc renders each differently."""
    text = "\n".join([module.docstring, *(doc.docstring for doc in _public(module))])
    numpy, google = len(NUMPY_STYLE.findall(text)), len(GOOGLE_STYLE.findall(text))
    if max(numpy, google) == 0:
        return "restructuredtext"
    return "numpy" if numpy > google else "google"


if __name__ == "__main__":
    main()
