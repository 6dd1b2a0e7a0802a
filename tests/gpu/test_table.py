"""The table of speeds, as far as it can be made without a GPU."""

import json

import pytest

from tests.gpu import table


def test_the_sizes_are_those_that_they_are_named_for():
    from pipeline.models.families import parameters

    given = table.parser().parse_args([])
    for name, millions in {"124M": 124, "350M": 353, "1.3B": 1311}.items():
        shape = table.config_of(table.Task(name, "bf16", 8, given)).shape()
        assert parameters(shape, table.PIECES) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.everything
def test_the_table_is_written_line_by_line(tmp_path, capsys):
    words = "--models toy --precisions bf16 fp8 --device cpu --row-tokens 64 --batch-tokens 256 --pieces 300"
    table.main([*words.split(), "--seconds", "0.1", "--no-compile", "--out", str(tmp_path)])
    written = (tmp_path / "table.md").read_text()
    assert written in capsys.readouterr().out
    (line,) = [json.loads(each) for each in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert line["precision"] == "bf16"  # fp8 was refused, and the rest is there
    assert f"{line['figures']['tokens_per_second']:,.0f}" in written
    assert line["micro_batch_rows"] == 2
