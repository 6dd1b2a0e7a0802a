"""The store's promises, on a folder and on an object store."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from pipeline.store import Artifact, Attempt, Made, PlanningStore, Storage, Store, Work
from pipeline.store.artifacts import FilesMissingError, NotMadeError, UnreadableRecordError
from pipeline.store.faults import NotWritableError
from pipeline.store.storage import UnusableStoreError
from pipeline.store.store import IncompleteArtifactError
from pipeline.store.verify import verify
from tests.object_store import BUCKET, overwriting, s3_server
from tests.store.stages import Bread, Flour, GrindConfig, bake, grind


def test_what_was_made_is_found_again_and_not_made_twice(store: Store) -> None:
    first = grind(store, GrindConfig(), "the first")
    second = grind(store, GrindConfig(), "the second")
    assert first.key == second.key
    assert second.path("sacks/flour.txt").read_text() == "the first"
    assert second.folder("sacks").joinpath("flour.txt").read_text() == "the first"


def test_a_derived_value_set_by_hand_gives_the_same_key(store: Store) -> None:
    assert GrindConfig().identity() == GrindConfig(stones=6).identity() == {}
    assert GrindConfig(stones=7).identity() == {"stones": 7}
    assert GrindConfig(fineness=4).identity() == GrindConfig(fineness=4, stones=8).identity()


def test_another_configuration_or_another_input_gives_another_key(store: Store) -> None:
    coarse, fine = grind(store, GrindConfig()), grind(store, GrindConfig(fineness=9))
    assert coarse.key != fine.key
    bread = bake(store, coarse)
    assert bread.key != bake(store, fine).key
    assert bread.record.inputs["flour"].digest == coarse.record.digest


def test_a_failed_attempt_leaves_no_artifact_and_the_next_one_makes_it(store: Store) -> None:
    def fail(attempt: Attempt) -> Made:
        raise ValueError("the wind dropped")

    with pytest.raises(ValueError, match="wind"):
        store.make(Flour, GrindConfig(), {}, fail)
    assert list(store.records()) == []
    assert grind(store, GrindConfig()).exists()


def test_a_planning_store_knows_the_keys_and_makes_nothing(root: str) -> None:
    planned = grind(PlanningStore(root), GrindConfig())
    assert not Storage(root).exists("")
    assert planned.key == grind(Store(root), GrindConfig()).key


def test_in_a_plan_a_stage_estimates_from_what_its_inputs_have_or_are_expected_to_have(store: Store) -> None:
    def plan() -> tuple[Flour, Bread]:
        planning = PlanningStore(store.storage.root)
        flour = planning.make(Flour, GrindConfig(), {}, never, work=lambda: {"sacks": 9.0})
        loaves = {"loaves": flour.config()["stones"] * flour.counts()["sacks"]}
        return flour, planning.make(Bread, GrindConfig(), {"flour": flour}, never, work=lambda: loaves)

    def never(attempt: Attempt) -> Made:
        raise AssertionError

    assert plan()[1].counts() == {"loaves": 54.0}
    grind(store, GrindConfig())
    flour, bread = plan()
    assert (flour.counts(), bread.counts()) == ({"sacks": 1}, {"loaves": 6})


def test_an_incomplete_artifact_is_never_reused_silently(store: Store) -> None:
    def build(attempt: Attempt) -> Made:
        return Made(files={}, incomplete=True)

    store.make(Flour, GrindConfig(), {}, build)
    with pytest.raises(IncompleteArtifactError, match="lost shards"):
        store.make(Flour, GrindConfig(), {}, build)


def test_create_never_replaces_what_is_there(root: str) -> None:
    storage = Storage(root)
    assert storage.check() is None
    assert storage.create("a/b.json", b"first")
    assert not storage.create("a/b.json", b"second")
    assert storage.read("a/b.json") == b"first"
    assert storage.list("a") == ["b.json"]


def test_what_is_read_from_elsewhere_is_read_through_a_cache(store: Store, tmp_path: Path) -> None:
    flour = grind(store, GrindConfig(fineness=5), "far away")
    assert flour.path("sacks/flour.txt").read_text() == "far away"
    assert flour.folder("sacks").joinpath("flour.txt").read_text() == "far away"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    again = grind(store, GrindConfig(fineness=5))
    assert again.path("sacks/flour.txt").read_text() == "far away"
    assert again.folder("sacks").joinpath("flour.txt").read_text() == "far away"


def test_names_point_to_keys_and_can_move(store: Store) -> None:
    coarse, fine = grind(store, GrindConfig()), grind(store, GrindConfig(fineness=9))
    store.name("farm/flour", coarse)
    store.name("farm/flour", fine)
    assert store.named() == {"farm/flour": ("grind", fine.key)}
    assert store.target_of("farm/flour") == ("grind", fine.key)
    for unknown in ("farm", "farm/", "farm/bread", "farm/flour/more", "/flour", "../farm/flour", "../flour"):
        assert store.target_of(unknown) is None


def test_records_come_by_stage_and_key_all_or_those_of_a_stage(store: Store) -> None:
    flours = [grind(store, GrindConfig(fineness=number)) for number in range(1, 4)]
    breads = [bake(store, flour) for flour in flours]
    store.storage.replace("grind/stray.txt", b"no artifact")
    by_stage = [sorted(artifact.key for artifact in made) for made in (breads, flours)]
    assert [record.key for record in store.records()] == by_stage[0] + by_stage[1]
    assert [record.key for record in store.records("grind")] == by_stage[1]
    assert list(store.records("sow")) == []


def test_a_folders_sizes_are_those_that_its_file_system_tells(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for path, size in (("a/one", 1), ("a/deep/er/two", 2), ("three", 3)):
        storage.replace(path, b"x" * size)
    (tmp_path / "a/link").symlink_to(tmp_path / "three")
    (tmp_path / "a/folder").symlink_to(tmp_path / "a/deep")
    for path in ("", "a", "a/one", "a/deep", "none"):
        told = storage.fs.find(storage.full(path), detail=True)
        assert storage.sizes(path) == {
            name: info["size"] for name, info in told.items() if info["type"] == "file"
        }
    assert sum(storage.sizes("").values()) == 6


@pytest.fixture
def other_servers(s3: Mapping[str, str]) -> Iterator[None]:
    """Connections are kept by address and not by environment: with another server they are made anew."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("server", ["honours", "overwrites"])
def test_a_server_that_overwrites_where_it_should_not_is_told_of(
    server: str, other_servers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        s3_server(tmp_path, with_credentials=False) as open_server,
        overwriting(open_server["AWS_ENDPOINT_URL"]) as proxy,
    ):
        endpoint = proxy if server == "overwrites" else open_server["AWS_ENDPOINT_URL"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = Store(f"s3://{BUCKET}/overwritten")
        warning = store.storage.check()
        assert (warning is None) == (server == "honours")
        if warning:
            assert "one run at a time" in warning
            # Whoever comes later still finds what is there, and takes it.
            assert store.storage.create("a.json", b"first")
            assert not store.storage.create("a.json", b"second")
            bake(store, grind(store, GrindConfig()))
            assert verify(store).faults == []


def test_an_object_store_that_cannot_be_used_says_what_to_look_at(
    other_servers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnusableStoreError, match=r"s3://no-such-bucket/x cannot be written: .*bucket exists"):
        Storage("s3://no-such-bucket/x").check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(UnusableStoreError, match=r"AWS_SECRET_ACCESS_KEY"):
        Storage(f"s3://{BUCKET}/x").check()
    with pytest.raises(UnusableStoreError, match=r"'nonsense://x' is neither a folder"):
        Storage("nonsense://x")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    with pytest.raises(NotWritableError, match="cannot be written"):
        grind(Store(str(tmp_path / "store")), GrindConfig())


def test_what_is_not_there_or_not_readable_says_so(store: Store) -> None:
    with pytest.raises(NotMadeError, match="run its flow"):
        _ = Flour(store.storage, "0" * 16).record
    flour = grind(store, GrindConfig())
    with pytest.raises(FilesMissingError, match=r"no files below 'barrels', only sacks/flour\.txt"):
        flour.folder("barrels")
    store.storage.replace(f"{flour.base}/artifact.json", b"{")
    with pytest.raises(UnreadableRecordError, match=f"moinho rm {flour.base}"):
        grind(store, GrindConfig())


def test_listeners_hear_what_happens(store: Store) -> None:
    heard: list[str] = []

    class Ear:
        def planned(self, artifact: Artifact, work: Work) -> None:
            heard.append("planned")

        def reused(self, artifact: Artifact) -> None:
            heard.append("reused")

        def waiting(self, artifact: Artifact) -> None:
            heard.append("waiting")

        def started(self, artifact: Artifact, attempt: Attempt, config: Mapping[str, Any]) -> None:
            heard.append(f"started with {config['stones']} stones")

        def finished(self, artifact: Artifact) -> None:
            heard.append("finished")

        def failed(self, artifact: Artifact, attempt: Attempt, error: BaseException) -> None:
            heard.append(f"failed: {error}")

    store.listeners.append(Ear())
    grind(store, GrindConfig())
    grind(store, GrindConfig())
    assert heard == ["started with 6 stones", "finished", "reused"]
