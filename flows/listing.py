"""What is in a store, row by row. It imports little, so that `moinho ls` answers at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.store import Record, Storage, Store
from pipeline.store.artifacts import NO_STAGES, places, read_records
from pipeline.store.store import names_by_base


@dataclass(frozen=True)
class Listed:
    """One artifact of a listing."""

    names: list[str]
    stage: str
    key: str
    started: str
    seconds: float
    bytes: int


def listing(store: Store, word: str | None = None) -> list[Listed]:
    """The artifacts of the store, or those of a run, a name or a stage: the oldest first, and none before
    those that it was made from. Raises UnknownArtifactError if there are none of that name."""
    names = names_by_base(store.named())
    if word is None:
        return list(_in_order(store.records(), names).values())
    chosen = {base for base, its in names.items() if any(_is_of(name, word) for name in its)}
    if word and "/" not in word and word not in NO_STAGES:
        chosen |= {*places(store.storage, word)}
    # Their order hangs on what they were made from, and on nothing else that is in the store.
    rows = _in_order(_ancestry(store.storage, chosen), names)
    found = [row for base, row in rows.items() if base in chosen]
    if not found:
        from flows.references import UnknownArtifactError  # with all stages, which a listing needs none of

        all_rows = listing(store)
        runs = sorted({name.partition("/")[0] for row in all_rows for name in row.names})
        stages = dict.fromkeys(row.stage for row in all_rows)
        raise UnknownArtifactError(
            f"{word}: no run and no stage in this store; runs: {', '.join(runs) or 'none'}; "
            f"stages: {', '.join(stages) or 'none'}"
        )
    return found


def _is_of(name: str, word: str) -> bool:
    """Whether a name such as `quickstart/base` is the one meant, or one of the run that is meant."""
    return f"{name}/".startswith(f"{word.rstrip('/')}/")


def _ancestry(storage: Storage, bases: Iterable[str]) -> Iterator[Record]:
    """The records of artifacts, and of all that they were made from, each once."""
    waiting, seen = set(bases), set[str]()
    while waiting:
        seen |= waiting
        found = list(read_records(storage, sorted(waiting)))
        yield from found
        inputs = (given for record in found for given in record.inputs.values())
        waiting = {f"{given.stage}/{given.key}" for given in inputs} - seen


def _in_order(records: Iterable[Record], names: Mapping[str, list[str]]) -> dict[str, Listed]:
    """By `stage/key`, in the order of the time of their start; where the clock was set back, after their
    inputs all the same. No record is kept: with all their files, those of a large store take gigabytes."""
    rows: dict[str, Listed] = {}
    inputs: dict[str, list[str]] = {}
    for record in records:
        base = f"{record.stage}/{record.key}"
        inputs[base] = [f"{given.stage}/{given.key}" for given in record.inputs.values()]
        rows[base] = Listed(
            names=names.get(base, []),
            stage=record.stage,
            key=record.key,
            started=record.started,
            seconds=record.seconds,
            bytes=sum(file.bytes for file in record.files.values()),
        )
    ranks: dict[str, tuple[str, int]] = {}

    def rank(base: str) -> tuple[str, int]:
        """The latest start among the artifact and all it was made from, and how many steps it took since."""
        if base not in ranks:
            above = [rank(given) for given in inputs[base] if given in rows]
            ranks[base] = max([(rows[base].started, 0), *((started, depth + 1) for started, depth in above)])
        return ranks[base]

    by_place = sorted(rows, key=lambda base: (rows[base].stage, rows[base].key))
    return {base: rows[base] for base in sorted(by_place, key=rank)}
