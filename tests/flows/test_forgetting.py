"""From a request to be left out to a corpus, tokens and an index without it."""

import json
import pydoc_data.topics
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.commands.forgetting import NotForgottenError, forget
from flows.forgetting import (
    ForgetListError,
    WholeSuffixError,
    aftermath,
    rules_from,
)
from flows.left_out import ForgottenInsideError, refuse_forgotten
from pipeline.config import Config
from pipeline.corpus.classifier import ExamplesError, example_files
from pipeline.corpus.clean import Documents
from pipeline.corpus.forgotten import Forgotten, forgotten_in, write_entry
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.tables import read_rows
from pipeline.corpus.text_index import TextIndexConfig, as_asked, find_text, index_texts
from pipeline.store import Made, Store
from pipeline.store.discard import discard
from pipeline.tokens.encode import Tokens
from pipeline.tracking.destination import Destination
from pipeline.tracking.registry import RegistryError, registered
from pipeline.training.pretrain import BaseModel
from tests.road import moinho
from tests.rows_road import HERE, corpus_and_tokens, write_rows

LEAVES, NAME = "leaves.example", "Serafina Quintanilha"


def manual() -> Iterator[dict[str, str]]:
    """The topics of Python's manual; every fourth is of the host that will leave, and has the name."""
    for number, (topic, text) in enumerate(sorted(pydoc_data.topics.topics.items())):
        leaves = number % 4 == 0
        row = {"url": f"http://{'www.' + LEAVES if leaves else 'stays.example'}/{topic}", "text": text}
        if leaves:
            row["text"] += f"\n\nWhat is said of {topic} was written down by {NAME}.\n"
        yield row


def urls_of_rows(corpus: Corpus, tokens: Tokens) -> set[str]:
    """Where the documents come from that the training rows have pieces of."""
    urls = {row["id"]: row["url"] for row in read_rows(corpus.paths("train/"))}
    shards = [name for name in tokens.names("train/") if name.endswith(".documents.parquet")]
    ids = [[row["id"] for row in read_rows([tokens.path(name)])] for name in shards]
    return {urls[ids[piece["shard"]][piece["document"]]] for piece in tokens.rows("train").pieces}


def times_found(store: Store, corpus: Corpus, text: str) -> int:
    index = index_texts(store, corpus, TextIndexConfig(), HERE)
    found = find_text([index], as_asked(text), least_words=2)
    return sum(each.times for each in found if text in each.text)


def test_after_forgetting_and_a_rebuild_no_row_leads_to_the_host_and_its_name_is_found_no_more(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_rows(tmp_path / "manual", manual())
    corpus, tokens = corpus_and_tokens(store, folder)
    for artifact in (corpus, tokens):
        store.name(f"manual/{artifact.role}", artifact)
    assert any(LEAVES in url for url in urls_of_rows(corpus, tokens))
    assert times_found(store, corpus, NAME) > 5

    forget([LEAVES], note="by letter", store=store.storage.root, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["new"] == [LEAVES]
    sources = {each["artifact"].partition("/")[0]: each["documents"] for each in told["sources"]}
    assert set(sources) == {"sources", "extract"}
    assert sources["sources"] == sources["extract"] > 5
    made = {each["artifact"].partition("/")[0]: each["documents"] for each in told["made"]}
    assert set(made) == {"clean", "hold-out", "index", "vocabulary", "tokens"}
    assert made["vocabulary"] is None
    assert told["seconds_by_run"]["manual"] == pytest.approx(corpus.record.seconds + tokens.record.seconds)

    corpus, tokens = corpus_and_tokens(store, folder)
    left = urls_of_rows(corpus, tokens)
    assert left
    assert not [url for url in left if LEAVES in url]
    assert times_found(store, corpus, NAME) == 0
    assert times_found(store, corpus, "the") > 10
    after = aftermath(store, Forgotten(frozenset({LEAVES})), Destination.of(store.storage))
    assert not {corpus.base, tokens.base, corpus.record.inputs["documents"].key} & {
        name for holder in after.made for name in (holder.artifact, holder.artifact.partition("/")[2])
    }
    forget(None, store=store.storage.root)
    assert "by letter" in capsys.readouterr().out


def test_what_is_not_meant_is_refused_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\ufeff# who asked\nexample.org\ntwo words\n")
    with pytest.raises(ForgetListError, match=r"line 3: 'two words'"):
        rules_from([], listed)
    listed.write_text("# nobody\n")
    with pytest.raises(ForgetListError, match="names nothing"):
        rules_from([], listed)
    with pytest.raises(ForgetListError, match="cannot be read"):
        rules_from([], tmp_path / "none.txt")
    with pytest.raises(WholeSuffixError, match=r"example\.com\.br"):
        rules_from(["com.br"], None)
    (tmp_path / "store" / "names").mkdir(parents=True)
    with pytest.raises(NotForgottenError, match="nothing was taken back"):
        forget(["a.example"], take_back=True, store=str(tmp_path / "store"))
    forget(["a.example"], dry_run=True, store=str(tmp_path / "store"))
    assert not forgotten_in(Store(str(tmp_path / "store")).storage)


def test_something_can_be_left_out_before_the_first_run_and_pages_as_the_crawl_calls_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "new")
    forget(
        ["gov.br/pagina", "https://a.example/?utm_source=x", "https://a.example/b?utm_source=x"], store=store
    )
    rules = forgotten_in(Store(store).storage)
    for url in ("https://gov.br/pagina", "http://a.example/", "http://a.example/b"):
        assert rules.rule_for(url) is not None
    assert rules.rule_for("http://a.example/c") is None
    assert "the front page alone" in " ".join(capsys.readouterr().out.split())
    forget(None, store=store)
    assert "https://gov.br/pagina" in capsys.readouterr().out


def test_what_was_made_before_does_not_bring_it_back(store: Store, tmp_path: Path) -> None:
    """As a general text, as a model to go on from, or as examples for a classifier."""
    corpus, tokens = corpus_and_tokens(store, write_rows(tmp_path / "manual", manual()))
    documents = Documents(store.storage, corpus.record.inputs["documents"].key)
    store.name("old/documents", documents)
    base = store.make(BaseModel, Config(), {"tokens": tokens}, lambda attempt: Made(files={}))
    for artifact in (corpus, tokens, base):
        refuse_forgotten(store, artifact, "start.model")
    assert example_files(store, ["kept:old/documents"])
    write_entry(store.storage, [LEAVES])
    for artifact in (corpus, tokens, base):
        with pytest.raises(ForgottenInsideError, match=LEAVES):
            refuse_forgotten(store, artifact, "start.model")
    for side in ("kept", "dropped"):
        with pytest.raises(ExamplesError, match=LEAVES):
            example_files(store, [f"{side}:old/documents"])


def test_what_cannot_be_known_any_more_is_told(store: Store, tmp_path: Path) -> None:
    """Tokens know their documents' URLs themselves; a model whose tokens are gone knows nothing."""
    corpus, tokens = corpus_and_tokens(store, write_rows(tmp_path / "manual", manual()))
    base = store.make(BaseModel, Config(), {"tokens": tokens}, lambda attempt: Made(files={}))
    rules, destination = Forgotten(frozenset({LEAVES})), Destination.of(store.storage)
    discard(store, f"clean/{corpus.record.inputs['documents'].key}")
    discard(store, corpus.base)
    found = aftermath(store, rules, destination)
    assert {tokens.base, base.base} <= {holder.artifact for holder in found.made}
    assert base.base not in found.unknown
    assert found.unknown_models is not None
    discard(store, tokens.base)
    found = aftermath(store, rules, destination)
    assert base.base in found.unknown
    assert base.base not in {holder.artifact for holder in found.made}


def test_the_command_tells_what_has_a_page_and_which_models_learned_from_it(filled_road: Path) -> None:
    store, url = filled_road / "store", "http://docs.moinho.test/argparse.html"
    told = moinho("forget", url, "--dry-run", store=store)
    assert told.returncode == 0, told.stderr
    for word in ("would be left out", "road/pages", "road/documents", "road/base", "road-base: version 1"):
        assert word in told.stdout
    assert "Nothing is left out" in moinho("forget", store=store).stdout


def test_a_registry_that_does_not_answer_is_told_and_costs_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    destination = Destination.of(store.storage)
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9"):
        registered(destination)
    assert aftermath(store, Forgotten(frozenset({"a.example"})), destination).unknown_models is not None
