"""A few of each fuzzer's inputs; `python -m tests.crawler.fuzz --inputs 1000000` makes many."""

import pytest

from tests.crawler.fuzz import FUZZERS, run


@pytest.mark.parametrize("name", FUZZERS)
def test_no_input_does_harm(name: str) -> None:
    run(name, 0, 300)
