"""A name that turns private after the crawler has looked it up once is not reached there."""

from collections import Counter
from pathlib import Path

import pytest
from twisted.names import dns

from tests.crawler.testweb.names import reply_to
from tests.crawler.testweb.rebinding import ANSWERS, NOWHERE, PATHS, PLAIN, PRIVATE, may_run_apart, run_apart


def test_the_name_server_answers_each_look_up_in_its_turn() -> None:
    asked: Counter[str] = Counter()

    def addresses(name: str, kind: int = dns.A) -> list[str]:
        question = dns.Message(id=7)
        question.addQuery(name.encode(), kind)
        reply = dns.Message()
        reply.fromStr(reply_to(question.toStr(), ANSWERS, asked))
        assert reply.id == 7
        assert (reply.rCode == dns.ENAME) == (name == NOWHERE)
        return [record.payload.dottedQuad() for record in reply.answers if record.type == dns.A]

    assert [addresses("second.example")[0] == PRIVATE for _ in range(4)] == [False, True, True, True]
    assert addresses("mixed.example", dns.AAAA) == []
    assert addresses(NOWHERE) == []
    assert asked == {"second.example": 4}


@pytest.mark.everything
@pytest.mark.timeout(400)
def test_a_name_that_turns_private_at_a_later_look_up_is_refused_there(tmp_path: Path) -> None:
    if not may_run_apart():
        pytest.skip("a network of its own is not permitted here")
    found = run_apart(tmp_path)
    assert found["faults"] == []
    lookups, outcomes = found["lookups"], found["outcomes"]
    assert isinstance(lookups, dict)
    assert isinstance(outcomes, dict)
    assert all(lookups[name] >= 2 for name in ("second.example", "third.example"))
    assert {outcomes[f"http://{PLAIN}{path}"] for path in PATHS} == {"page"}
    assert outcomes["http://always.example/"] == "refused-address"
    assert "refused-address" in {outcomes.get(f"http://fifth.example{path}") for path in PATHS}
    assert outcomes[f"http://{NOWHERE}/"] == "unreachable"
