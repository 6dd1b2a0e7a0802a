"""The tasks of a round: one partition's turn, or a partition made anew from others."""

import dataclasses
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawler.child import run_spider
from crawler.options import FRONTIER, OUTGOING, Ended, Options
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, File

FRONTIERS = "frontiers"
HANDED = "handed"
ALLOWED = "allowed"


@dataclass(frozen=True)
class Turn:
    """What the task of one partition's round gets."""

    attempt: Attempt
    options: Options
    """`folder`, `incoming` and `allowed_hosts` are completed where the task runs."""
    layout: str
    """Names the way in which hosts are spread over partitions."""
    snapshot: File | None
    snapshot_round: int
    """The partition's frontier at the end of its last round, and which that was."""
    incoming: tuple[File, ...]
    allowed: tuple[File, ...]


@dataclass(frozen=True)
class Regroup:
    """What the task gets that makes a partition of a new layout."""

    attempt: Attempt
    frontiers: Mapping[str, File]
    """Those of the old layout, by partition; one that never had anything to do has none."""
    before: int
    """Partitions of the old layout."""
    round: int
    partition: int
    partitions: int


def crawl_turn(turn: Turn, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: run the child process to its round's end, then hand over what it made.

    Raises SpiderDiedError if the child ended early; whatever it stored stays, and the next try goes on.
    """
    folder = turn.attempt.scratch() / turn.layout / f"{turn.options.partition:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    restored = _restore(turn, folder)
    options = dataclasses.replace(
        turn.options,
        folder=str(folder),
        restored=restored,
        incoming=[str(_local(turn.attempt, file)) for file in turn.incoming],
        allowed_hosts=[*turn.options.allowed_hosts, *_allowed(turn)],
    )
    name = "spider" if options.partitions == 1 else f"spider-{options.partition:02d}"
    ended = run_spider(options, turn.attempt.journal(name), folder / "spider.log")
    _hand_over(folder, options, ended, output)
    return _counts(ended)


def _restore(turn: Turn, folder: Path) -> bool:
    """Bring the partition to where its last round ended, unless it stands there or further already (then
    False); drop earlier rounds' WARC files, which have their own links in the store."""
    for path in (folder / "warc").glob("*.warc.gz"):
        if not path.name.startswith(f"{turn.options.prefix}-"):
            path.unlink()
    if turn.snapshot is not None and round_of(folder / FRONTIER) < turn.snapshot_round:
        for path in folder.glob(f"{FRONTIER}*"):
            path.unlink()
        part = folder / "restored"
        shutil.copyfile(_local(turn.attempt, turn.snapshot), part)
        part.replace(folder / FRONTIER)
        return True
    return False


def round_of(frontier: Path) -> int:
    """The last round that was begun in a frontier; -2 if there is none."""
    if not frontier.exists():
        return -2
    db = sqlite3.connect(frontier)
    try:
        row = db.execute("SELECT round FROM position").fetchone()
    except sqlite3.OperationalError:  # killed while it was made
        row = None
    finally:
        db.close()
    return int(row[0]) if row else -2


def _allowed(turn: Turn) -> set[str]:
    return {
        host for file in turn.allowed for host in _local(turn.attempt, file).read_text().splitlines() if host
    }


def _local(attempt: Attempt, file: File) -> Path:
    return attempt.storage.download(f"{attempt.base}/{file.path}", file.sha256)


def _hand_over(folder: Path, options: Options, ended: Ended, output: ShardOutput) -> None:
    name = f"{options.partition:02d}"
    for path in sorted((folder / "warc").glob(f"{options.prefix}-*.warc.gz")):
        if path.stat().st_size:
            _link(path, output.path(f"warc/{path.name}"))
    for path in sorted((folder / OUTGOING).glob("*.jsonl")):
        shutil.copyfile(path, output.path(f"{HANDED}/{path.name}"))
    if ended.allowed:
        output.path(f"{ALLOWED}/{name}.txt").write_text("\n".join(ended.allowed) + "\n")
    copy_frontier(folder / FRONTIER, output.path(f"{FRONTIERS}/{name}.sqlite"))


def copy_frontier(source: Path, target: Path) -> None:
    """A frontier that nobody writes to, with what may still stand in its journal."""
    given, made = sqlite3.connect(source), sqlite3.connect(target)
    try:
        given.backup(made)
    finally:
        given.close()
        made.close()


def _link(source: Path, target: Path) -> None:
    """Give the file a second name, which a kill at any moment survives; copy it to another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _counts(ended: Ended) -> dict[str, int]:
    handed = {f"handed.{target}": count for target, count in ended.handed.items() if count}
    seeds = {f"seeds.{target}": count for target, count in ended.seeds.items() if count}
    outcomes = {f"outcome.{name}": count for name, count in ended.outcomes.items() if count}
    return {
        "pages": ended.pages,
        "tried": ended.tried,
        "left": ended.left,
        "has_work": int(ended.has_work),
        "open_seeds": int(ended.open_seeds),
        "settled": int(ended.settled),
        "milliseconds": int(ended.seconds * 1000),
        "at": int(time.time()),
        **handed,
        **seeds,
        **outcomes,
    }


def regroup(given: Regroup, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: a partition of a new layout, made from all frontiers of the old one."""
    from crawler.regrouping import regrouped

    sources = {int(name): _local(given.attempt, file) for name, file in given.frontiers.items()}
    target = output.path(f"{FRONTIERS}/{given.partition:02d}.sqlite")
    ended = regrouped(sources, given.before, target, given.round, given.partition, given.partitions)
    if ended.allowed:
        output.path(f"{ALLOWED}/{given.partition:02d}.txt").write_text("\n".join(ended.allowed) + "\n")
    return _counts(ended)


@dataclass(frozen=True)
class Logged:
    """What the task gets that writes a partition's crawl log."""

    attempt: Attempt
    name: str
    frontier: File


def write_log(given: Logged, output: ShardOutput) -> Mapping[str, int]:
    """In a Ray task: the crawl log of a partition, a line for each URL tried, sorted by URL."""
    with output.path(f"crawl-log/{given.name}.jsonl").open("w", encoding="utf-8") as lines:
        for line in log_of(given.attempt, given.frontier):
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")
    return {}


def log_of(attempt: Attempt, file: File) -> Iterator[dict[str, Any]]:
    """What became of each URL that is known in a frontier."""
    from crawler.places import url_of
    from crawler.schema import LOG, LOG_COLUMNS

    db = sqlite3.connect(f"file:{_local(attempt, file)}?mode=ro&immutable=1", uri=True)
    db.create_function("url_of", 2, url_of, deterministic=True)
    try:
        for row in db.execute(LOG):
            yield dict(zip(LOG_COLUMNS, row, strict=True))
    finally:
        db.close()
