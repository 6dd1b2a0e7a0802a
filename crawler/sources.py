"""Which source files a module and its submodules have, found without importing any of them."""

import os
import re
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

NOT_DOCUMENTATION = re.compile(
    r"(^|\.)(_?tests?|testing|conftest|setup|__main__|_?vendor(ed)?|externals)(\.|$)"
)
"""Submodules that are never rendered: tests, commands, copies of other people's packages."""


def source_files(entry: str, exclude: Iterable[str] = ()) -> dict[str, Path]:
    """Module name → its .py file, for `entry` and all below it that are documented. Compiled modules have
    none and are missing, as is an entry that is not installed."""
    found = {
        f"{entry}{inside}": path for inside, path in _below(entry) if not NOT_DOCUMENTATION.search(inside)
    }
    return {
        name: path
        for name, path in found.items()
        if not any(name == package or name.startswith(f"{package}.") for package in exclude)
    }


def _below(entry: str) -> list[tuple[str, Path]]:
    """What follows the entry's name in a submodule's (such as `.fft.basic`), and its file."""
    top, *rest = entry.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return []
    if not spec.submodule_search_locations:
        return [("", Path(spec.origin))] if spec.origin and spec.origin.endswith(".py") else []
    places = [Path(place, *rest) for place in spec.submodule_search_locations]
    alone = [("", path) for place in places if (path := place.with_suffix(".py")).is_file()] if rest else []
    return [*alone, *(item for place in places for item in _package(place))]


def _package(root: Path) -> list[tuple[str, Path]]:
    found = []
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if Path(place, name, "__init__.py").exists()]
        inside = "".join(f".{part}" for part in Path(place).relative_to(root).parts)
        for name in names:
            if name.endswith(".py"):
                module = "" if name == "__init__.py" else f".{name.removesuffix('.py')}"
                found.append((inside + module, Path(place, name)))
    return found
