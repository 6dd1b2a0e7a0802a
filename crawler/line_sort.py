"""Sorting more lines than memory holds: in pieces, which are then merged. The order is that of bytes."""

import contextlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

PIECE_LINES = 100_000
MERGED_FILES = 64
"""Files that are open at once; more are merged in rounds."""


def sort_lines(lines: Iterable[bytes], target: Path) -> None:
    """Write the lines, each of which ends with a newline, sorted."""
    rest = iter(lines)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pieces: list[Path] = []
        while piece := sorted(islice(rest, PIECE_LINES)):
            pieces.append(Path(folder) / str(len(pieces)))
            with pieces[-1].open("wb") as file:
                file.writelines(piece)
        merge_lines(pieces, target)


def merge_lines(sources: Sequence[Path], target: Path) -> None:
    """Write the lines of sorted files, sorted."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = 0
        while len(sources) > MERGED_FILES:
            merged = Path(folder) / str(made)
            _merge(sources[:MERGED_FILES], merged)
            sources, made = [*sources[MERGED_FILES:], merged], made + 1
        _merge(sources, target)


def merged_lines(sources: Sequence[Path]) -> Iterator[bytes]:
    """The lines of sorted files, sorted. All files are open meanwhile."""
    with contextlib.ExitStack() as stack:
        yield from heapq.merge(*(stack.enter_context(source.open("rb")) for source in sources))


def _merge(sources: Sequence[Path], target: Path) -> None:
    with target.open("wb") as file:
        file.writelines(merged_lines(sources))
