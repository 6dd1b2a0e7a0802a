"""Rounds: every partition that has something to do crawls for a while, then hands over what is others'.

Hosts are in 256 fixed buckets by registrable domain; partition p of P serves the buckets with
`bucket % P == p`, so a host is asked by one process alone. What a round is to do is written down before
it begins, and each partition's end of it is a shard's record, with its WARC files, its frontier as it
stood then and what it found for others. So an attempt that is killed, or goes on elsewhere or with
another P, ends the round that was begun, as it was begun.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from crawler.history import History, Limits, Plan
from crawler.options import Options
from crawler.telling import Round
from crawler.turns import Regroup, Turn, crawl_turn, regroup
from pipeline.compute import Compute
from pipeline.store import Attempt, File, ShardRecord

FIRST_ROUND_SECONDS = 10.0
"""The first rounds are short, as much is found for others in them; each is twice as long as the last."""


def crawl_in_rounds(
    attempt: Attempt,
    options: Options,
    limits: Limits,
    compute: Compute,
    processes: int | None,
    *,
    beside_driver: bool,
    starts: Sequence[str] = (),
    after_round: Callable[[History], None] = lambda history: None,
) -> History:
    """Crawl until nothing is left or a limit is reached. `options` are those of every partition; None
    `processes` are as many as the crawl was begun with, or else one per CPU, but at most four, and no more
    than find something to do among the seeds and `starts`, further URLs of hosts that are known already.
    The next round waits for what `after_round` does."""
    history, starts = History(), [*options.seeds, *starts]
    for begun in _plans(attempt):
        records = _finished(attempt, begun)
        if records is None:
            break
        history.add(begun, records)
    journal = attempt.journal("rounds")
    while True:
        plan = _begun(attempt, len(history.rounds))
        if plan is None:
            count = processes or _count(history, compute, starts)
            seeded = seeded_in(starts, history.rounds[-1][0].partitions if history.rounds else count)
            plan = _next(history, limits, count, seeded, settled=options.settled)
        if plan is None:
            return history
        plan = _written(attempt, plan)
        taking_part = len(_names(plan))
        Round(plan.number, plan.partitions, taking_part, plan.seconds, plan.regroups).tell(journal)
        before = history.frontiers()
        history.add(plan, _run(attempt, plan, history, options, compute, beside_driver))
        for file in set(before.values()) - set(history.frontiers().values()):
            attempt.storage.remove(f"{attempt.base}/{file.path}")  # what came after stands for it
        after_round(history)


def _count(history: History, compute: Compute, starts: Sequence[str]) -> int:
    if history.rounds:
        return history.rounds[-1][0].partitions
    return min(4, compute.cpus(), len(seeded_in(starts, None)))


def seeded_in(seeds: Sequence[str], partitions: int | None) -> list[str]:
    """The partitions that serve seeds, sorted; without a number of them there are as many as buckets."""
    from crawler.urls import BUCKETS, bucket_of, canonical, host_of

    urls = [url for seed in seeds if (url := canonical(seed)) is not None]
    return sorted({f"{bucket_of(host_of(url)) % (partitions or BUCKETS):02d}" for url in urls}) or ["00"]


@dataclass(frozen=True)
class Published:
    """The frontiers that are in the store, as they stood at the ends of each partition's last round."""

    frontiers: dict[str, File]
    round: int
    """The last that any of them has ended."""
    at: float | None
    """When the first of these was put there: seconds since 1970."""


def published(attempt: Attempt) -> Published | None:
    """What the store knows of a crawl that is not finished, also of a round of which some partitions have
    ended; None before the first has."""
    history = History()
    for begun in _plans(attempt):
        found = {name: attempt.finished_shard(begun.step, name) for name in _names(begun)}
        records = {name: record for name, record in found.items() if record is not None}
        if begun.regroups and len(records) < len(found):
            break  # the layout before is whole
        history.add(begun, records)
    frontiers = history.frontiers()
    if not frontiers:
        return None
    last = history.last.values()
    times = [record.counts["at"] for _, record in last if "at" in record.counts]
    return Published(frontiers, max(number for number, _ in last), min(times, default=None))


# --- what is written down ---


def _path(attempt: Attempt, number: int) -> str:
    return f"{attempt.base}/rounds/{number:05d}.json"


def _begun(attempt: Attempt, number: int) -> Plan | None:
    try:
        return Plan(**json.loads(attempt.storage.read(_path(attempt, number))))
    except FileNotFoundError:
        return None


def _plans(attempt: Attempt) -> Sequence[Plan]:
    found: list[Plan] = []
    while (plan := _begun(attempt, len(found))) is not None:
        found.append(plan)
    return found


def _written(attempt: Attempt, plan: Plan) -> Plan:
    """The plan, or the one that was written for this round before."""
    attempt.storage.create(_path(attempt, plan.number), json.dumps(dataclasses.asdict(plan)).encode())
    begun = _begun(attempt, plan.number)
    assert begun is not None
    return begun


def _finished(attempt: Attempt, plan: Plan) -> dict[str, ShardRecord] | None:
    """The records of a round in which every partition has ended."""
    records = {name: attempt.finished_shard(plan.step, name) for name in _names(plan)}
    whole = {name: record for name, record in records.items() if record is not None}
    return whole if len(whole) == len(records) else None


def _names(plan: Plan) -> list[str]:
    if plan.regroups:
        return [f"{number:02d}" for number in range(plan.partitions)]
    return sorted(plan.max_pages)


def forget_rounds(attempt: Attempt) -> None:
    """The next attempt begins anew."""
    storage = attempt.storage
    for plan in _plans(attempt):
        storage.remove(f"{attempt.base}/shards/{plan.step}")
    storage.remove(f"{attempt.base}/rounds")
    shutil.rmtree(attempt.scratch(), ignore_errors=True)


# --- what comes next ---


def _next(
    history: History, limits: Limits, partitions: int, seeded: Sequence[str], *, settled: bool = False
) -> Plan | None:
    """The next round, or None if nothing is left or a limit is reached. `seeded`: the partitions that begin
    with seeds; `settled`: it is known from the beginning whose pages are wanted."""
    number = len(history.rounds)
    if not history.rounds:
        shares = _shares(limits.max_pages, seeded, {})
        return Plan(0, partitions, 0, settled, _seconds(limits, history), shares)
    before = history.rounds[-1][0]
    seconds = _seconds(limits, history)
    room = limits.max_pages - history.total("pages")
    if room <= 0 or (seconds is not None and seconds <= 0):
        return None
    have_begun = before.layout > 0 or all(name in history.last for name in seeded)
    settled = before.settled or (not before.regroups and have_begun and _all_seeds_have_led(history))
    waiting = _with_work(history, limits, [] if have_begun else seeded, settled)
    if not waiting:
        return None
    if before.partitions != partitions and have_begun:
        return Plan(number, partitions, number, before.settled, regroups=True)
    pages = {name: record.counts.get("pages", 0) for name, (_, record) in history.last.items()}
    return Plan(number, partitions, before.layout, settled, seconds, _shares(room, waiting, pages))


def _all_seeds_have_led(history: History) -> bool:
    """Several partitions know together which hosts are wanted once no seed is open anywhere."""
    names = [f"{number:02d}" for number in range(history.rounds[-1][0].partitions)]
    return not any(history.handed("seeds", name) for name in names) and not any(
        record.counts.get("open_seeds") for _, record in history.last.values()
    )


def _with_work(history: History, limits: Limits, seeded: Sequence[str], settled: bool) -> list[str]:
    """Partitions in which something waits, to which something was handed, which have `seeded` and not begun,
    or which have begun and are to be told what is wanted."""
    last = history.rounds[-1][0]
    found = []
    for number in range(last.partitions):
        name = f"{number:02d}"
        if name not in history.last:
            if name in seeded or _is_news(history, name, limits):
                found.append(name)
            continue
        counts = history.last[name][1].counts
        to_settle = settled and last.partitions > 1 and not counts.get("settled")
        if counts.get("has_work") or to_settle or _is_news(history, name, limits):
            found.append(name)
    return found


def _is_news(history: History, name: str, limits: Limits) -> bool:
    """Something was handed over that changes which pages there are: without a limit of depth, a shorter
    way to what is known does not."""
    if limits.max_depth is not None:
        return bool(history.incoming(name))
    return history.handed("handed", name) > 0


def _shares(room: int, names: Sequence[str], pages: Mapping[str, int]) -> dict[str, int]:
    """An even share for each of what may still be stored, lest the limit be passed; with less room than
    partitions some do not take part."""
    share, rest = divmod(room, len(names))
    shares = {name: share + (number < rest) for number, name in enumerate(names)}
    return {name: pages.get(name, 0) + each for name, each in shares.items() if each}


def _seconds(limits: Limits, history: History) -> float | None:
    crawled = sum(not plan.regroups for plan, _ in history.rounds)
    seconds = min(limits.round_seconds, FIRST_ROUND_SECONDS * 2.0 ** min(crawled, 30))
    if limits.max_seconds is None:
        return seconds
    return min(seconds, limits.max_seconds - history.seconds())


# --- a round ---


def _run(
    attempt: Attempt,
    plan: Plan,
    history: History,
    options: Options,
    compute: Compute,
    beside_driver: bool,
) -> dict[str, ShardRecord]:
    names = _names(plan)
    run = partial(compute.map_shards, attempt, plan.step, beside_driver=beside_driver, tells=False)
    if plan.regroups:
        before, sources = history.rounds[-1][0].partitions, history.frontiers()
        shards: dict[str, Any] = {
            name: Regroup(attempt, sources, before, plan.number, int(name), plan.partitions) for name in names
        }
        records = run(shards, regroup)
    else:
        shards = {name: _turn(attempt, plan, history, options, name) for name in names}
        records = run(shards, crawl_turn)
    return dict(zip(names, records, strict=True))


def _turn(attempt: Attempt, plan: Plan, history: History, options: Options, name: str) -> Turn:
    number, record = history.last.get(name, (-1, None))
    told = plan.settled and (record is None or not record.counts.get("settled"))
    turn = dataclasses.replace(
        options,
        partition=int(name),
        partitions=plan.partitions,
        round=plan.number,
        round_seconds=plan.seconds,
        max_pages=plan.max_pages[name],
        seeds=options.seeds if record is None else [],
        settled=plan.settled,
    )
    return Turn(
        attempt=attempt,
        options=turn,
        layout=f"{plan.layout:05d}-{plan.partitions}",
        snapshot=history.frontiers().get(name),
        snapshot_round=number,
        incoming=tuple(history.incoming(name)),
        allowed=_allowed(history) if told else (),
    )


def _allowed(history: History) -> tuple[File, ...]:
    """Files that name the hosts that each partition holds to be wanted."""
    return tuple(
        file
        for _, record in history.last.values()
        for name, file in record.files.items()
        if name.startswith("allowed/")
    )
