"""The benchmark `serve` runs, shortly; its figures are not looked at."""

import json

import pytest

from tests.benchmarks.__main__ import main


@pytest.mark.everything
def test_many_clients_are_answered_or_told_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    main(["serve", "--pairs", "1", "--seconds", "5", "--tokens", "8"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["statuses"]) <= {"200", "429"}
    assert found["statuses"]["200"] > 0
    assert found["ratio"] > 0
    assert found["latency_seconds"]["many"]["whole"][0] > 0
