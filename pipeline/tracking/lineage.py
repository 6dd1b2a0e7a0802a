"""What an artifact was made from."""

from pipeline.store import Record, Storage, read_record


def lineage(storage: Storage, record: Record) -> dict[str, Record]:
    """Every artifact that `record` was made from, by `<stage>/<key>`, nearest first."""
    found: dict[str, Record] = {}
    waiting = list(record.inputs.values())
    while waiting:
        given = waiting.pop(0)
        base = f"{given.stage}/{given.key}"
        if base not in found and (above := read_record(storage, base)) is not None:
            found[base] = above
            waiting += above.inputs.values()
    return found
