import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from flows.commands import corpora as commands
from flows.figures import meaning_of
from flows.inspection import (
    Dropped,
    NothingDroppedError,
    dropped_pages,
    record_lines,
    sample_by_reason,
)
from flows.listing import listing
from pipeline.config import Config
from pipeline.corpus.clean import CleanConfig, Documents
from pipeline.corpus.tables import DROPPED, KEPT, write_rows
from pipeline.evaluation.report import COMPRESSED
from pipeline.evaluation.report import figures as evaluated
from pipeline.evaluation.words import Place
from pipeline.store import Artifact, Attempt, File, Made, Record, Store
from pipeline.tokens.figures import TokenizerFigures


class Grain(Artifact):
    stage, role = "harvest", "grain"


class Flour(Artifact):
    stage, role = "grind", "flour"


class Bread(Artifact):
    stage, role = "bake", "bread"


def made_at(artifact: Artifact, started: str) -> None:
    """Let the record say that the artifact was made then."""
    path = Path(artifact.storage.full(f"{artifact.base}/artifact.json"))
    record = Record.model_validate_json(path.read_bytes())
    path.write_text(record.model_copy(update={"started": started}).model_dump_json())


PAGES = [
    Dropped("a", "crawl", "http://x/a", "", "language", 0.93, None, "fr"),
    *(Dropped(f"b{n}", "crawl", f"http://x/b{n}", "", "few-letters", 0.1, 0.5, "") for n in range(5)),
    Dropped("c", "crawl", "http://x/c", "", "duplicate-near", None, None, "kept"),
]


def dropping(store: Store) -> Artifact:
    def build(attempt: Attempt) -> Made:
        rows = [asdict(page) | {"text": "words"} for page in PAGES]
        kept = dict.fromkeys(KEPT.names, "") | {
            "id": "kept",
            "url": "http://x/kept",
            "language_score": 1.0,
            "quality": None,
        }
        write_rows(attempt.path("dropped/00000.parquet"), rows[:4], DROPPED)
        write_rows(attempt.path("dropped/00001.parquet"), rows[4:], DROPPED)
        write_rows(attempt.path("kept/00000.parquet"), [kept], KEPT)
        return Made(files=attempt.publish_folder("dropped") | attempt.publish_folder("kept"))

    return store.make(Documents, Config(), {}, build)


def test_dropped_pages_are_read_from_all_files_with_the_url_of_a_duplicates_keeper(store: Store) -> None:
    pages = dropped_pages(dropping(store), {})
    assert pages == [*PAGES[:-1], replace(PAGES[-1], detail="http://x/kept")]


def test_of_what_an_earlier_run_has_its_name_is_told(store: Store) -> None:
    first = dropping(store)

    def build(attempt: Attempt) -> Made:
        page = Dropped("d", "crawl", "http://x/d", "", "duplicate-url-earlier", None, None, "kept")
        write_rows(attempt.path("dropped/00000.parquet"), [asdict(page) | {"text": "words"}], DROPPED)
        return Made(files=attempt.publish_folder("dropped"))

    config = CleanConfig(earlier=("january/documents",))
    again = store.make(Documents, config, {"earlier-0": first}, build)
    (page,) = dropped_pages(again, {first.base: ["january/documents"]})
    assert page.detail == "http://x/kept (in january/documents)"
    assert dropped_pages(again, {})[0].detail == f"http://x/kept (in {first.base})"
    settings = dict(record_lines(again))["settings"]
    assert settings == "other than the defaults: earlier=['january/documents']"


def test_a_sample_has_some_of_every_reason(store: Store) -> None:
    assert [page.id for page in sample_by_reason(PAGES, 4)] == ["c", "b0", "b1", "a"]
    assert len(sample_by_reason(PAGES, 100)) == len(PAGES)


def test_what_drops_no_pages_is_told_where_they_are(store: Store) -> None:
    with pytest.raises(NothingDroppedError, match="such as quickstart/documents"):
        dropped_pages(store.make(Grain, Config(), {}, lambda attempt: Made({})), {})


def test_the_dropped_are_counted_by_reason_and_some_or_all_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Store(str(tmp_path))
    home.name("farm/documents", dropping(home))
    commands.dropped("farm/documents", sample=3, store=str(tmp_path))
    told = capsys.readouterr().out
    counts = re.findall(r"^(few-letters|language|duplicate-near|in all) +(\d+)(?: |$)", told, re.MULTILINE)
    assert counts == [("few-letters", "5"), ("language", "1"), ("duplicate-near", "1"), ("in all", "7")]
    assert "Too few of its words have a letter." in " ".join(told.split())
    assert ["few-letters", "0.1", "0.5", "crawl", "http://x/b0"] in [
        line.split() for line in told.splitlines()
    ]
    assert "3 of 7 documents" in told
    commands.dropped("farm", store=str(tmp_path), as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 7


def test_a_record_tells_where_its_tables_lie_and_which_settings_are_its_own(store: Store) -> None:
    artifact = dropping(store)
    lines = dict(record_lines(artifact))
    assert lines["settings"] == "all at their defaults"
    home = f"{store.storage.root}/{artifact.base}/attempts/{artifact.record.attempt}"
    assert lines["dropped/"] == f"{home}/dropped/*.parquet"
    assert lines["kept/"] == f"{home}/kept/*.parquet"
    record = artifact.record
    shards = {
        f"kept/{n}.parquet": File(path=f"attempts/a/divide/{n}-x/kept/{n}.parquet", bytes=1, sha256="")
        for n in "12"
    }
    artifact._record = record.model_copy(update={"files": shards, "identity": {"depth": 4}})
    lines = dict(record_lines(artifact))
    assert lines["kept/"] == f"{store.storage.root}/{artifact.base}/attempts/a/divide/*/kept/*.parquet"
    assert lines["settings"] == "other than the defaults: depth=4"


def test_a_crawls_record_names_its_archives_and_the_file_of_its_seeds(store: Store) -> None:
    artifact = store.make(Grain, Config(), {}, lambda attempt: Made({}))
    single = ("index.cdxj", "report.html")
    record = artifact.record.model_copy(
        update={
            "identity": {"max_pages": 9},
            "config": {"max_pages": 9, "seeds_file": "lists/mills.txt"},
            "counts": {"seeds": 1_200},
            "files": {
                f"{kind}/{n}": File(path=f"attempts/a/round/{n}/{kind}/{n}", bytes=1, sha256="")
                for kind, names in {
                    "warc": ["b.warc.gz", "a.warc.gz"],
                    "crawl-log": [f"{n}.jsonl" for n in range(9)],
                }.items()
                for n in names
            }
            | {name: File(path=f"attempts/a/end/0/{name}", bytes=1, sha256="") for name in single},
        }
    )
    artifact._record = record
    lines = list(record_lines(artifact))
    settings = "other than the defaults: max_pages=9, seeds_file=lists/mills.txt (1,200 seeds in all)"
    assert ("settings", settings) in lines
    home = f"{store.storage.root}/{artifact.base}/attempts/a/round"
    end = f"{store.storage.root}/{artifact.base}/attempts/a/end/0"
    assert lines[-5:] == [
        ("crawl-log/", f"{home}/*/crawl-log/*.jsonl"),
        *((name, f"{end}/{name}") for name in single),
        ("warc/", f"{home}/a.warc.gz/warc/a.warc.gz"),
        ("", f"{home}/b.warc.gz/warc/b.warc.gz"),
    ]


def test_every_figure_of_the_evaluation_is_explained() -> None:
    parts = {name: 1.0 for name in ("ended_share", "mean_tokens")}
    own = ("own_nats_per_token", "shuffled_nats_per_token", "own_likelier_share", "question_helps_share")
    bits = {name: 1.0 for name in ("base", "ngram", *COMPRESSED)}
    scores: dict[str, Any] = {
        "held_out": {"largest_document_share": 0.1, "shared_bytes_share": 0.2},
        "bits_per_byte": {"all": bits, "en": bits, "pt": bits},
        "next_words": {
            "places": {
                place: dict.fromkeys(("model_share", "unigram_share", "ratio"), 0.5)
                for place in get_args(Place)
            }
        },
        "answers": parts,
        "own_answers": dict.fromkeys(own, 1.0),
        "tokenizer": {"pt": asdict(TokenizerFigures(1.0, 1.0, 1.0))},
    }
    names = evaluated(scores)
    assert len(names) > 30
    assert [name for name in names if not meaning_of("evaluate", name)] == []
    assert meaning_of("evaluate", "xz_bits_per_byte.pt").endswith("(pt)")
    assert meaning_of("evaluate", "of_another_version") == ""


def test_nothing_is_listed_before_what_it_was_made_from_whatever_the_clock_said(store: Store) -> None:
    grain = store.make(Grain, Config(), {}, lambda attempt: Made({}))
    flour = store.make(Flour, Config(), {"grain": grain}, lambda attempt: Made({}))
    bread = store.make(Bread, Config(), {"flour": flour}, lambda attempt: Made({}))
    assert [row.stage for row in listing(store)] == ["harvest", "grind", "bake"]
    made_at(grain, "2026-02-01T00:00:00+00:00")
    made_at(flour, "2026-01-01T00:00:00+00:00")
    made_at(bread, "2026-03-01T00:00:00+00:00")
    assert [row.stage for row in listing(store)] == ["harvest", "grind", "bake"]
