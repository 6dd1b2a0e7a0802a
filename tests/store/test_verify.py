"""What is damaged is found and named; what is discarded is made again; what is needed is never collected."""

import json
from pathlib import Path

import pytest

from pipeline.store import Attempt, Made, ShardRecord, Store
from pipeline.store.discard import InUseError, collect, discard, leftovers
from pipeline.store.store import StaleArtifactError
from pipeline.store.verify import Findings, verify
from tests.store.stages import Flour, GrindConfig, bake, grind


def faults(found: Findings) -> list[tuple[str, str]]:
    return [(fault.base, fault.what) for fault in found.faults]


def test_a_whole_store_is_sound(store: Store) -> None:
    bake(store, grind(store, GrindConfig()))
    told: list[tuple[int, int]] = []
    found = verify(store, tell=lambda done, total: told.append((done, total)))
    assert (found.artifacts, found.files, found.faults) == (2, 2, [])
    assert told[-1] == (found.bytes, found.bytes)


@pytest.mark.parametrize(
    ("damage", "told"),
    [(b"flouR", "SHA-256"), (b"flour and more", "14 bytes, not 5"), (None, "missing")],
)
def test_a_damaged_file_is_named(store: Store, damage: bytes | None, told: str) -> None:
    flour = grind(store, GrindConfig())
    path = f"{flour.base}/{flour.record.files['sacks/flour.txt'].path}"
    store.storage.remove(path)
    if damage is not None:
        store.storage.replace(path, damage)
    [(base, what)] = faults(verify(store))
    assert base == flour.base
    assert "flour.txt" in what
    assert told in what
    assert faults(verify(store, [grind(store, GrindConfig(fineness=4)).base])) == []


@pytest.mark.parametrize(
    ("field", "told"), [("identity", "it was altered"), ("digest", "its digest is not that of its files")]
)
def test_an_altered_record_is_found(store: Store, field: str, told: str) -> None:
    flour = grind(store, GrindConfig())
    record = json.loads(store.storage.read(f"{flour.base}/artifact.json"))
    record[field] = {"fineness": 9} if field == "identity" else "0" * 64
    store.storage.replace(f"{flour.base}/artifact.json", json.dumps(record).encode())
    assert any(told in what for _, what in faults(verify(store)))


def test_a_record_that_cannot_be_read_is_a_fault_and_no_crash(store: Store) -> None:
    flour = grind(store, GrindConfig())
    store.storage.replace(f"{flour.base}/artifact.json", b'{"format": 1, "sta')
    assert [base for base, _ in faults(verify(store))] == [flour.base]


def test_a_missing_file_of_half_done_work_is_found(store: Store) -> None:
    def fail(attempt: Attempt) -> Made:
        path = attempt.path("sack.txt")
        path.write_text("half")
        record = ShardRecord(identity="0", files={"sack.txt": attempt.publish(path)}, counts={})
        attempt.finish_shard("sift", record)
        raise ValueError("the wind dropped")

    with pytest.raises(ValueError, match="wind"):
        store.make(Flour, GrindConfig(), {}, fail)
    found = verify(store)
    assert (found.artifacts, found.unfinished, found.files, found.faults) == (0, 1, 1, [])
    [attempt] = store.storage.list("grind/" + store.storage.list("grind")[0] + "/attempts")
    base = f"grind/{store.storage.list('grind')[0]}"
    store.storage.remove(f"{base}/attempts/{attempt}/sack.txt")
    assert faults(verify(store)) == [(base, f"attempts/{attempt}/sack.txt: missing")]
    discard(store, base)
    assert faults(verify(store)) == []


def test_a_discarded_artifact_is_gone_with_its_names_and_can_be_made_again(store: Store) -> None:
    flour = grind(store, GrindConfig())
    store.name("farm/flour", flour)
    discard(store, flour.base)
    assert store.named() == {}
    assert list(store.records()) == []
    assert store.storage.sizes(flour.base) == {}
    assert grind(store, GrindConfig()).exists()


def test_what_was_made_from_it_is_reused_only_if_it_comes_back_the_same(store: Store) -> None:
    bread = bake(store, grind(store, GrindConfig()))
    discard(store, Flour(store.storage, next(iter(store.storage.list("grind")))).base)
    bake(store, grind(store, GrindConfig()))
    flour = f"grind/{store.storage.list('grind')[0]}"
    discard(store, flour)
    found = verify(store)
    assert (found.faults, found.gone) == ([], [(bread.base, flour)])
    other = grind(store, GrindConfig(), "of another harvest")
    with pytest.raises(StaleArtifactError, match=rf"moinho rm {bread.base} --downstream"):
        bake(store, other)
    assert [base for base, what in faults(verify(store)) if "made from" in what] == [bread.base]
    discard(store, bread.base)
    assert bake(store, other).path("loaf.txt").read_text() == "bread of of another harvest"


def test_what_is_being_made_is_neither_discarded_nor_collected(store: Store) -> None:
    def build(attempt: Attempt) -> Made:
        attempt.path("half.txt").write_text("half")
        attempt.publish(attempt.path("half.txt"))
        with pytest.raises(InUseError, match="is being made"):
            discard(Store(store.storage.root), attempt.base)
        assert leftovers(Store(store.storage.root)).unfinished == []
        return Made(files={})

    store.make(Flour, GrindConfig(), {}, build)


def test_only_what_no_name_needs_is_collected(store: Store) -> None:
    flour, unneeded = grind(store, GrindConfig()), grind(store, GrindConfig(fineness=8))
    bread = bake(store, flour)
    store.name("farm/bread", bread)
    store.storage.replace(f"{bread.base}/attempts/overtaken/part.txt", b"part")
    store.storage.replace("names/farm/gone.json", b'{"stage": "grind", "key": "0123456789abcdef"}')
    store.storage.replace("runs/one/delivered.json", b"{}")
    store.storage.replace("runs/two/events.jsonl", b"{}\n")
    found = leftovers(store)
    assert [piece.path for piece in found.artifacts] == [unneeded.base]
    assert [piece.path for piece in found.attempts] == [f"{bread.base}/attempts/overtaken"]
    assert [piece.path for piece in found.runs] == ["runs/one"]
    assert [piece.path for piece in found.names] == ["names/farm/gone.json"]
    everything = [*found.artifacts, *found.attempts, *found.runs, *found.names]
    assert list(collect(store, everything)) == everything
    assert {f"{record.stage}/{record.key}" for record in store.records()} == {flour.base, bread.base}
    assert verify(store).faults == []
    assert leftovers(store).artifacts == []
    assert store.storage.sizes("runs/one") == {}
    assert store.storage.exists("runs/two/events.jsonl")
    assert Path(bake(store, flour).path("loaf.txt")).read_text() == "bread of flour"
