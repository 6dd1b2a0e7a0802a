"""The formats of ASSIN 2, FaQuAD and ENEM, on small files of our own in the very form of the originals."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.harness import local_files, portuguese
from pipeline.evaluation.harness.local_files import HarnessFilesError
from tests.evaluation.portuguese_files import write_assin2, write_enem, write_faquad


def test_assin2_is_read(tmp_path: Path) -> None:
    folder = write_assin2(tmp_path)
    splits = local_files.assin2(folder)
    assert set(splits) == {"train", "test"}
    assert splits["test"][0] == {
        "sentence_pair_id": 1,
        "premise": "Um menino está a correr na praia",
        "hypothesis": "Uma criança corre na areia",
        "relatedness_score": 4.5,
        "entailment_judgment": 1,
    }
    alone = local_files.assin2(folder / "assin2-test.xml")
    assert alone == {"test": splits["test"]}


def test_faquad_is_read(tmp_path: Path) -> None:
    splits = local_files.faquad(write_faquad(tmp_path))
    first = splits["test"][0]
    assert first["question"] == "Quando abre a secretaria?"
    assert first["answers"]["text"] == ["às nove horas", "nove horas"]
    start = first["answers"]["answer_start"][0]
    assert first["context"][start:].startswith("às nove horas")


def test_both_forms_of_enem_are_read_and_annulled_questions_left_out(tmp_path: Path) -> None:
    rows = local_files.enem(write_enem(tmp_path))["test"]
    assert [row["id"] for row in rows] == ["questao_01", "questao_02", "2016_7"]
    assert all(row["answerKey"] in row["choices"]["label"] for row in rows)
    assert all(len(row["choices"]["text"]) == 5 for row in rows)


@pytest.mark.parametrize(
    ("read", "name", "content", "told"),
    [
        ("assin2", "assin2-test.xml", "<entailment-corpus><pair", "ParseError"),
        ("assin2", "assin2-test.xml", '<c><pair id="1"><t>a</t><h>b</h></pair></c>', "blind"),
        ("assin2", "assin2-test.xml", "<entailment-corpus/>", "nothing to score"),
        ("faquad", "dev.json", '{"data": 3}', "TypeError"),
        ("faquad", "dev.json", "[]", "TypeError"),
        ("faquad", "dev.json", "not json", "JSONDecodeError"),
        ("enem", "2022.jsonl", '{"id": 1}', "KeyError"),
        ("enem", "2022.jsonl", "[1]", "AttributeError"),
    ],
)
def test_files_in_another_form_are_told(
    tmp_path: Path, read: str, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(HarnessFilesError, match=told):
        portuguese.READERS[read](tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(HarnessFilesError, match=r"assin2-test\.xml is not there; found readme\.txt"):
        local_files.assin2(tmp_path)
    with pytest.raises(HarnessFilesError, match="No such file"):
        local_files.faquad(tmp_path / "nothing.json")


def test_baselines_need_no_model(tmp_path: Path) -> None:
    pairs = local_files.assin2(write_assin2(tmp_path / "a"))["test"]
    majority: list[Any] = portuguese.baseline("assin2_rte", pairs)["acc"]
    assert sum(majority) / len(majority) == 0.5
    overlap = portuguese.baseline("assin2_sts", pairs)["pearson"]
    assert -1 <= portuguese.pearson(overlap) <= 1
    questions = local_files.faquad(write_faquad(tmp_path / "f"))["test"]
    assert sum(portuguese.baseline("faquad", questions)["f1"]) > 0
    assert portuguese.baseline("another", pairs) == {}


def test_pearson_is_numpys() -> None:
    import numpy as np

    pairs = [(1.0, 2.0), (2.0, 2.5), (4.0, 9.0), (3.0, 1.0)]
    columns = list(zip(*pairs, strict=True))
    assert portuguese.pearson(pairs) == pytest.approx(np.corrcoef(*columns)[0, 1])
    assert portuguese.pearson([(1.0, 2.0), (1.0, 3.0)]) == 0


def test_expected_similarity_is_between_one_and_five() -> None:
    row = {"relatedness_score": 4.0}
    sure = [(0.0 if place == 3 else -100.0, False) for place in range(5)]
    assert portuguese.similarity_results(row, sure)["pearson"] == (4.0, pytest.approx(4.0))
    even = portuguese.similarity_results(row, [(-2.0, False)] * 5)["pearson"]
    assert even == (4.0, pytest.approx(3.0))


def test_files_are_utf8_json(tmp_path: Path) -> None:
    folder = write_faquad(tmp_path)
    assert (
        "às"
        in json.loads((folder / "dev.json").read_text(encoding="utf-8"))["data"][0]["paragraphs"][0][
            "context"
        ]
    )
