"""Looking into frontiers: finished ones, ones that are being written, and several of one crawl."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.entries import Position
from crawler.frontier import Frontier
from crawler.inquiry import (
    Frontiers,
    NoFrontierError,
    UnknownHostError,
    UnknownOutcomeError,
    place_of,
)
from crawler.out_of_scope import KEPT, OTHER_HOST
from crawler.outcomes import OUTCOMES, meaning_of
from crawler.places import url_of
from crawler.urls import bucket_of, canonical, host_of
from crawler.why import NoWebPageError, why
from tests.crawler.frontiers import SEED, entry, page, partitioned, small_frontier, visit

CONFIG = {"user_agent": "moinho/1.0", "max_pages": 10, "max_depth": None}


@pytest.fixture
def frontiers(tmp_path: Path):
    small_frontier(tmp_path / "00.sqlite").close()
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as found:
        yield found


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.org", "127.0.0.1", "[::1]", "localhost"]),
    st.sampled_from(["", ":8080"]),
    st.text(st.sampled_from("ab/:?=.%"), max_size=12),
)
def test_place_and_url_are_two_spellings_of_one_thing(scheme, name, port, path):
    url = canonical(f"{scheme}://{name}{port}/{path}")
    assert url_of(*place_of(url)) == url


def test_what_is_no_web_page_is_its_own_place():
    assert url_of(*place_of("file:///etc/passwd")) == "file:///etc/passwd"


def test_a_finished_frontier_is_read_without_a_trace(tmp_path: Path):
    small_frontier(tmp_path / "00.sqlite").close()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tmp_path.chmod(0o500)
    try:
        with Frontiers([tmp_path / "00.sqlite"], finished=True) as found:
            assert found.outcomes() == {
                "page": 5,
                "redirect": 1,
                "robots": 1,
                "timeout": 1,
                "trap-calendar": 1,
            }
    finally:
        tmp_path.chmod(0o700)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_frontier_is_read_while_it_is_written_and_after_a_kill(tmp_path: Path):
    path = tmp_path / "00.sqlite"
    writer = small_frontier(path)
    with Frontiers([path], finished=False) as found:
        assert found.standing().pages == 5
        writer.finish(f"{SEED}waiting", page(40))
        assert found.standing().pages == 5, "what is not committed is not there"
        writer.commit(Position(seconds=31.0))
        told = found.standing()
        assert (told.pages, told.waiting, told.seconds, told.pages_per_second) == (6, 1, 31.0, 6 / 31)
        writer.finish("http://b.example/new", page(41))
        writer.commit(Position(seconds=32.0))
    # As a kill leaves it: the journal beside the file is not folded in.
    copy = tmp_path / "killed"
    copy.mkdir()
    for name in ("00.sqlite", "00.sqlite-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    with Frontiers([copy / "00.sqlite"], finished=False) as found:
        assert found.standing().pages == 7


def test_a_crawl_without_a_frontier_or_without_a_commit_is_told(tmp_path: Path):
    with pytest.raises(NoFrontierError, match="no frontier"):
        Frontiers([], finished=True)
    frontier = Frontier(tmp_path / "00.sqlite")
    with pytest.raises(NoFrontierError, match="only just begun"):
        Frontiers([tmp_path / "00.sqlite"], finished=False)
    frontier.close()


def test_urls_are_listed_by_host_state_and_outcome(frontiers: Frontiers):
    def listed(host=None, states=("waiting", "done"), outcome=None, limit=100):
        return [known.url for known in frontiers.urls(host, states, outcome, limit)]

    assert len(listed()) == 11
    assert listed(limit=3) == [SEED, f"{SEED}0", f"{SEED}1"]
    assert listed(states=["waiting"]) == [f"{SEED}waiting", "http://b.example/new"]
    assert listed("b.example") == ["http://b.example/new"]
    assert listed(outcome="robots") == [f"{SEED}private/x"]


def test_a_host_or_an_outcome_that_is_not_there_is_answered_by_what_is(frontiers: Frontiers):
    with pytest.raises(UnknownHostError, match=r"c\.example: .* there is (a|b)\.example"):
        list(frontiers.urls("c.example", ["done"], None, 1))
    with pytest.raises(UnknownOutcomeError, match=r"outcomes of this crawl: page 5, redirect 1"):
        list(frontiers.urls(None, ["done"], "robot", 1))


def test_the_way_to_a_url_leads_through_partitions_back_to_the_seed(tmp_path: Path):
    hosts = [f"host{number}.example" for number in range(9)]
    assert {bucket_of(host) % 3 for host in hosts} == {0, 1, 2}
    urls = [f"http://{host}/" for host in hosts]
    with Frontiers(partitioned(tmp_path, urls, 3), finished=True) as found:
        last = found.find(urls[-1])
        assert last is not None
        assert (last.state, last.depth) == ("done", 8)
        assert [known.url for known in found.way_to(last)] == urls[::-1]
        assert sorted(known.url for known in found.urls(None, ["done"], None, 100)) == sorted(urls)
        told = found.standing()
        assert (told.pages, told.waiting, told.seconds) == (9, 0, 12.0)


def test_pages_that_led_to_each_other_are_no_endless_way(tmp_path: Path):
    frontier = Frontier(tmp_path / "00.sqlite")
    frontier.add([entry(f"{SEED}a", 1, f"{SEED}b"), entry(f"{SEED}b", 1, f"{SEED}a")])
    frontier.commit(Position())
    frontier.close()
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as found:
        assert len(found.way_to(found.find(f"{SEED}a"))) == 2


# --- why ---


@pytest.mark.parametrize(
    ("asked", "state", "told", "advice"),
    [
        (f"{SEED}2#part", "done", "stored as a page", None),
        ("HTTP://A.example:80/private/x", "done", "forbidden by robots.txt", "Only the site can allow it"),
        (f"{SEED}moved", "done", "leads to another URL", None),
        (f"{SEED}slow", "done", "took too long", "crawl.timeout_seconds"),
        (f"{SEED}year/9999", "done", "endless family", "if it is meant"),
        (f"{SEED}nowhere", "unknown", "no page that was fetched links to it", "crawl.seeds"),
        (
            "http://c.example/",
            "unknown",
            r"nothing that was fetched led to its host \(there is",
            "allowed_hosts",
        ),
        ("http://b.example/x", "unwanted", "pages of its host are not wanted", "Add the host"),
        ("http://me:secret@a.example/", "unknown", "no URL that can be asked for", "user name"),
        ("http://a.example/" + "a" * 9000, "unknown", "longer than 8,192 characters", None),
    ],
)
def test_why_tells_what_became_of_a_url_and_what_to_do(frontiers, asked, state, told, advice):
    answer = why(frontiers, asked, CONFIG, finished=True)
    assert answer.state == state
    assert re.search(told, answer.told)
    assert (answer.advice or "") == "" if advice is None else advice in answer.advice


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (f"{SEED}login", "never asked for: denied by '/login' (setting crawl.deny)"),
        ("http://nobody.example/login", "never asked for: denied by '/login' (setting crawl.deny)"),
        (f"{SEED}nowhere", "never asked for: no allow pattern matches it (setting crawl.allow)"),
    ],
)
def test_why_names_the_pattern_and_the_setting_that_rule_a_url_out(frontiers: Frontiers, asked, told):
    config = CONFIG | {"deny": ["/x", "/login"], "allow": ["a.example/wiki/"]}
    answer = why(frontiers, asked, config, finished=True)
    assert (answer.state, answer.told) == ("unwanted", told)
    assert why(frontiers, f"{SEED}2", config, finished=True).state == "done"


def test_why_names_the_rule_that_forbids_and_the_way_there(frontiers: Frontiers):
    answer = why(frontiers, f"{SEED}private/x", CONFIG, finished=True)
    assert answer.rule == "Disallow: /private"
    assert [(step.url, step.outcome) for step in answer.way] == [
        (SEED, "page"),
        (f"{SEED}private/x", "robots"),
    ]


def test_why_follows_a_redirect(frontiers: Frontiers):
    target = why(frontiers, f"{SEED}moved", CONFIG, finished=True).leads_to
    assert (target.url, target.outcome, target.host) == ("http://b.example/new", None, "b.example")
    assert target.told.startswith("not asked for: the crawl ended at a limit")


def test_why_says_which_partition_knows_a_redirects_target_or_what_rules_it_out(tmp_path: Path):
    own, other = "http://host0.example/", "http://host1.example/"
    places = [bucket_of(host_of(url)) % 2 for url in (own, other)]
    assert sorted(places) == [0, 1]
    paths = [tmp_path / "00.sqlite", tmp_path / "01.sqlite"]
    for number, path in enumerate(paths):
        frontier = Frontier(path, number, 2)
        frontier.add([entry(own), entry(f"{own}out"), entry(other, 0, own)])
        if number == places[0]:
            frontier.finish(own, visit("redirect", status=301, detail=other))
            frontier.finish(f"{own}out", visit("redirect", status=301, detail="http://c.example/login"))
        else:
            frontier.finish(other, visit("robots"))
        frontier.commit(Position())
        frontier.close()
    with Frontiers(paths, finished=True) as found:
        answer = why(found, own, CONFIG, finished=True)
        denied = why(found, f"{own}out", CONFIG | {"deny": ["/login"]}, finished=True).leads_to
    assert answer.known.frontier == str(paths[places[0]])
    assert (answer.leads_to.outcome, answer.leads_to.frontier) == ("robots", str(paths[places[1]]))
    assert (denied.host, denied.outcome, denied.frontier) == ("c.example", "unwanted", None)
    assert "denied by '/login'" in denied.told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("a.example/2", "a.example/2: no URL of a web page, .* such as https://a.example/2$"),
        ("file:///etc/passwd", "begins with http:// or https://$"),
    ],
)
def test_what_is_no_url_of_a_web_page_is_an_input_error(frontiers: Frontiers, asked: str, told: str):
    with pytest.raises(NoWebPageError, match=told):
        why(frontiers, asked, CONFIG, finished=True)


def test_why_agrees_with_the_count_of_links_to_hosts_that_are_not_wanted(tmp_path: Path):
    private, public = "http://169.254.169.254/latest", "http://c.example/x"
    frontier = small_frontier(tmp_path / "00.sqlite")
    frontier.add([entry(f"{SEED}out", 1, SEED)])
    frontier.finish(f"{SEED}out", visit("redirect", status=302, detail=private))
    for url in (private, public):
        frontier.out_of_scope.note(OTHER_HOST, url)
    frontier.commit(Position())
    with Frontiers([tmp_path / "00.sqlite"], finished=False) as found:
        answers = [why(found, url, CONFIG, finished=True) for url in (private, public)]
        target = why(found, f"{SEED}out", CONFIG, finished=True).leads_to
        meant = why(found, private, CONFIG | {"private_hosts": ["169.254.169.254"]}, finished=True)
        other = why(found, "http://10.0.0.5/", CONFIG, finished=True)
        for number in range(KEPT):
            frontier.out_of_scope.note(OTHER_HOST, f"http://d.example/{number}")
        frontier.commit(Position())
        beyond = why(found, "http://e.example/", CONFIG, finished=True)
    frontier.close()
    for told in (*answers, target, meant):
        assert told.told == "never asked for: pages of its host are not wanted"
    assert [each.state for each in answers] == ["unwanted", "unwanted"]
    assert target.outcome == "unwanted"
    assert answers[1].advice == meant.advice == "Add the host to crawl.allowed_hosts."
    assert "crawl.allowed_hosts, and the host to crawl.private_hosts if" in answers[0].advice
    assert "crawl.private_hosts" in other.advice
    assert "or only in links to hosts that are not wanted (about 1," in beyond.told


def test_a_url_that_waits_is_told_by_whether_the_crawl_has_ended(frontiers: Frontiers):
    answer = why(frontiers, f"{SEED}waiting", CONFIG, finished=True)
    assert answer.told.startswith("not asked for: the crawl ended at a limit")
    assert answer.advice == "Raise crawl.max_pages (10)."
    answer = why(frontiers, f"{SEED}waiting", CONFIG, finished=False)
    assert answer.told == "waiting for its turn; tries in vain: 1"


def test_a_url_of_a_host_that_was_given_up_is_told_so(tmp_path: Path):
    frontier = small_frontier(tmp_path / "00.sqlite")
    [host] = [host for host in frontier.admit(9, 1e12) if host.name == "b.example"]
    frontier.hosts.close(host, "given-up")
    frontier.commit(Position())
    frontier.close()
    with Frontiers([tmp_path / "00.sqlite"], finished=True) as found:
        answer = why(found, "http://b.example/new", CONFIG, finished=True)
    assert "its host failed again and again" in answer.told


def test_every_outcome_has_words():
    for name in [*OUTCOMES, "trap-path"]:
        assert meaning_of(name).told[0].islower()
