import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.compute import Compute
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.contamination import ContaminationConfig, EvaluationSet, EvaluationSetError, check_sets
from pipeline.corpus.contamination_shards import Runs, index_of, overlaps, passages_of
from pipeline.corpus.tables import read_rows
from pipeline.corpus.word_runs import text_grams
from pipeline.store import Store
from tests.corpus.conftest import InThisProcess
from tests.corpus.test_clean import TEXTS, raw_of

QUESTIONS = [
    {
        "question": "A farmer brings seventeen sacks of corn to the mill, and each of them weighs forty "
        "kilograms; how many kilograms of flour does he take home if a fifth is bran?",
        "choices": {
            "text": ["five hundred and forty four kilograms of good white flour in all, no more", "none"]
        },
    },
    {
        "question": "Um moinho de maré com seis casais de mós trabalha dez horas por dia; quantas horas "
        "trabalham as mós todas juntas numa semana de sete dias?",
        "choices": {"text": ["quatrocentas e vinte"]},
    },
    {"question": "How many?", "choices": {"text": ["two"]}},
]


def write_questions(folder: Path, name: str = "mill.jsonl") -> EvaluationSet:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    return EvaluationSet(path=str(path), columns=("question", "choices"))


def words(text: str, first: int, count: int) -> str:
    return " ".join(text.split()[first : first + count])


def test_a_planted_run_is_found_with_its_example_and_a_shorter_one_is_not(tmp_path: Path) -> None:
    config = ContaminationConfig(sets=(write_questions(tmp_path),))
    index, counts = index_of(config)
    assert counts == {"evaluation.examples": 3, "evaluation.too-short": 1}
    planted = words(QUESTIONS[1]["question"], 2, 13)  # type: ignore[arg-type]
    share, found = overlaps(f"Antes disto. {planted.upper()} -- depois", index, 13)
    assert [(hit.set, hit.example, hit.runs) for hit in found] == [(0, 2, 1)]
    assert found[0].words == planted.lower().replace(";", "").replace(",", "")
    assert share == pytest.approx(13 / 16)
    shorter = words(QUESTIONS[1]["question"], 2, 12)  # type: ignore[arg-type]
    assert overlaps(f"Antes disto. {shorter} e depois", index, 13) == (0.0, [])


def test_lists_and_tables_inside_a_column_are_looked_into(tmp_path: Path) -> None:
    index, _ = index_of(ContaminationConfig(sets=(write_questions(tmp_path),)))
    answer = QUESTIONS[0]["choices"]["text"][0]  # type: ignore[index]
    _, found = overlaps(answer, index, 13)
    assert [hit.example for hit in found] == [1]


def test_parquet_and_jsonl_give_the_same_runs_and_a_text_file_is_read_through_its_line_ends(
    tmp_path: Path,
) -> None:
    rows = [{"question": row["question"]} for row in QUESTIONS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mill.parquet")
    table = EvaluationSet(path=str(tmp_path / "mill.parquet"), columns=("question",))
    lines = EvaluationSet(path=write_questions(tmp_path).path, columns=("question",))
    one, other = (index_of(ContaminationConfig(sets=(each,)))[0] for each in (table, lines))
    assert np.array_equal(one, other)
    text = tmp_path / "mill.txt"
    text.write_text("\n".join(str(QUESTIONS[0]["question"]).split(" ")), encoding="utf-8")
    index, counts = index_of(ContaminationConfig(sets=(EvaluationSet(path=str(text)),)))
    assert counts["evaluation.examples"] == 1
    _, found = overlaps(words(str(QUESTIONS[0]["question"]), 4, 13), index, 13)
    assert [hit.example for hit in found] == [5]  # the line where the run begins


@settings(deadline=None, max_examples=60)
@given(
    before=st.lists(st.sampled_from(["a", "mill", "roda", "…", "\n", "12"]), max_size=30),
    first=st.integers(0, 10),
    count=st.integers(4, 20),
    length=st.integers(4, 20),
    between=st.sampled_from([" ", "\n", ", ", " -- ", "*"]),
)
def test_a_planted_run_is_found_if_and_only_if_it_is_long_enough(
    before: list[str], first: int, count: int, length: int, between: str
) -> None:
    example = [f"w{number}" for number in range(40)]
    index = index_of_words(example, length)
    text = " ".join(before) + " " + between.join(example[first : first + count]) + " end"
    _, found = overlaps(text, index, length)
    assert bool(found) == (count >= length)
    assert sum(hit.runs for hit in found) == max(0, count - length + 1)


def index_of_words(example: list[str], length: int) -> Runs:
    grams = np.sort(text_grams(" ".join(example), length))
    return np.stack([grams, np.zeros_like(grams), np.ones_like(grams)])


def cleaned(store: Store, config: CleanConfig, shards: int, planted: str, here: Compute) -> Documents:
    documents = [
        ("http://x/clean", TEXTS[0]),
        ("http://x/planted", f"{TEXTS[3]}\n\n{planted}"),
        ("http://x/other", TEXTS[4]),
    ]
    return clean(store, raw_of(store, documents, 1, shards, f"raw {shards} {planted}"), config, here)


@settings(
    deadline=None,
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(shards=st.integers(1, 4), first=st.integers(0, 5), count=st.integers(11, 15))
def test_a_planted_run_is_found_whatever_the_sharding_and_the_account_balances(
    tmp_path_factory: pytest.TempPathFactory, here: InThisProcess, shards: int, first: int, count: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    config = CleanConfig(contamination=ContaminationConfig(sets=(write_questions(folder),)))
    made = cleaned(
        Store(str(folder / "store")), config, shards, words(str(QUESTIONS[1]["question"]), first, count), here
    )
    counts, report = made.record.counts, read_rows(made.paths("contamination/"))
    assert counts["pages"] == 4
    if count < 13:
        assert report == []
        assert counts["kept"] == 3
        return
    assert (counts["kept"], counts["dropped.contamination"], counts["evaluation.overlapping"]) == (2, 1, 1)
    (row,) = report
    assert (row["url"], row["set"], row["example"]) == ("http://x/planted", "mill.jsonl", 2)
    assert (row["runs"], row["dropped"]) == (count - 12, True)
    (dropped,) = (row for row in read_rows(made.paths("dropped/")) if row["reason"] == "contamination")
    assert dropped["detail"] == f"mill.jsonl, 2: {row['words']}"


def test_below_the_share_a_document_stays_and_is_reported(
    store: Store, tmp_path: Path, here: Compute
) -> None:
    config = CleanConfig(contamination=ContaminationConfig(sets=(write_questions(tmp_path),), share=0.5))
    made = cleaned(store, config, 2, words(str(QUESTIONS[1]["question"]), 0, 14), here)
    assert made.record.counts["kept"] == 3
    (row,) = read_rows(made.paths("contamination/"))
    assert not row["dropped"]
    assert 0 < row["share"] < 0.5


def test_the_sets_content_is_part_of_the_key_and_its_place_is_not(
    store: Store, tmp_path: Path, here: Compute
) -> None:
    def key(folder: str, text: str) -> str:
        path = tmp_path / folder / "set.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        config = ContaminationConfig(sets=(EvaluationSet(path=str(path)),))
        return cleaned(store, CleanConfig(contamination=config), 1, "nothing", here).key

    assert key("a", "one two") == key("b", "one two") != key("a", "one three")


def test_a_set_that_is_not_there_or_lacks_a_column_is_told(tmp_path: Path) -> None:
    missing = ContaminationConfig(sets=(EvaluationSet(path=str(tmp_path / "no.jsonl")),))
    with pytest.raises(EvaluationSetError, match=r"no\.jsonl'.*no such file"):
        check_sets(missing)
    path = write_questions(tmp_path).path
    with pytest.raises(EvaluationSetError, match=r"row 1: no column 'text', found choices, question"):
        list(passages_of(EvaluationSet(path=path)))
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text"\n')
    with pytest.raises(EvaluationSetError, match=r"bad\.jsonl, row 2: not JSON"):
        list(passages_of(EvaluationSet(path=str(tmp_path / "bad.jsonl"))))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(EvaluationSetError, match=r"bad\.parquet: not a Parquet file"):
        list(passages_of(EvaluationSet(path=str(tmp_path / "bad.parquet"))))
    with pytest.raises(ValidationError, match="ends in none of"):
        EvaluationSet(path="set.csv")


def test_a_set_without_the_column_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "Who grinds?"}\n')
    sets = (EvaluationSet(path=str(path), columns=("text",)),)
    with pytest.raises(EvaluationSetError, match="row 1: no column 'text', found question"):
        check_sets(ContaminationConfig(sets=sets))
