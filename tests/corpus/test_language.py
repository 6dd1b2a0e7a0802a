import pytest

from pipeline.corpus.language import Language, identify, passages
from pipeline.corpus.prose import of_documentation
from pipeline.corpus.variety import marks_in, variety_of
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE

GOOD = {"en": "\n\n".join(ENGLISH), "pt": "\n\n".join(PORTUGUESE), "de": "\n".join(GERMAN)}
BRAZIL = (
    "Para salvar o arquivo, clique no menu e escolha a pasta em que você quer guardá-lo. O usuário pode "
    "acessar as configurações em uma tela própria, onde o gênero do cadastro está sendo atualizado."
)
PORTUGAL = (
    "Para guardar o ficheiro, prima o botão do rato e escolha a pasta. O utilizador pode aceder ao seu "
    "registo noutro ecrã, onde o género está a ser actualizado; a equipa partilha a palavra-passe."
)
NEITHER = "A casa fica perto do rio, e as crianças brincam no jardim quando o sol aparece."


def language_of(text: str) -> Language:
    return identify(text, of_documentation(text))


@pytest.mark.parametrize("language", ["en", "pt", "de"])
def test_the_language_is_identified_with_a_probability(language: str) -> None:
    found = language_of(GOOD[language])
    assert found.code == language
    assert 0.9 < found.score <= 1
    assert (found.second, found.second_share) == (None, 0)


def test_the_language_of_documentation_is_that_of_its_prose() -> None:
    code = "```\n" + "for while return import def class\n" * 200 + "```\n\n"
    table = "| the | of | and |\n" * 50
    assert language_of(code + table + "# The heading of it all\n\n" + GOOD["pt"]).code == "pt"


def test_a_document_in_two_languages_is_recognized_by_the_share_of_the_second() -> None:
    half = language_of(GOOD["pt"] + "\n\n" + GOOD["en"])
    assert {half.code, half.second} == {"pt", "en"}
    assert 0.35 < half.second_share < 0.65
    assert half.score > 0.9
    assert language_of("\n\n".join([GOOD["pt"]] * 3 + [ENGLISH[0]])).second_share < 0.3


def test_a_translation_that_stops_half_way_through_a_long_document_is_noticed() -> None:
    assert language_of("\n\n".join([GOOD["pt"]] * 20 + [GOOD["en"]] * 20)).second_share > 0.3


def test_passages_come_from_the_whole_text_and_are_bounded() -> None:
    text = "".join(f"{number:05d} word\n" for number in range(20_000))
    found = passages(text)
    assert len(found) == 8
    assert max(map(len, found)) <= 400
    assert found[0].startswith("00000")
    assert found[-1].rstrip().endswith(("19999 word", "word"))
    assert int(found[-1][:5]) > 19_000
    assert len(passages("x" * 1_000_000)) <= 8
    assert passages("") == [""]


def test_the_varieties_of_portuguese_are_told_apart() -> None:
    assert variety_of(BRAZIL, "pt") == "pt-BR"
    assert variety_of(PORTUGAL, "pt") == "pt-PT"


def test_a_variety_is_undecided_where_little_or_both_speak_for_it() -> None:
    assert variety_of(NEITHER, "pt") == "pt"
    assert variety_of("O usuário leu.", "pt") == "pt"
    assert variety_of(BRAZIL + PORTUGAL, "pt") == "pt"
    assert variety_of(GOOD["en"], "en") == "en"


@pytest.mark.parametrize(
    ("text", "variety"),
    [
        ("o acadêmico, o gênero, o sinônimo e o prêmio", "pt-BR"),
        ("o académico, o género, o sinónimo e o prémio", "pt-PT"),
        ("ele está fazendo, eles estavam vendo", "pt-BR"),
        ("ele está a fazer, eles estavam a ver", "pt-PT"),
    ],
)
def test_spelling_and_grammar_mark_a_variety(text: str, variety: str) -> None:
    marks = marks_in(text, "pt")
    assert marks[variety] >= 2
    assert marks.total() == marks[variety]
