import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.personal.matching import PLACEHOLDERS, Kind
from pipeline.corpus.personal.numbers import is_cnpj, is_cpf, luhn
from pipeline.corpus.privacy import PrivacyConfig, replace_personal
from pipeline.tokens.markers import MARKERS
from tests.corpus.personal_lines import labelled_lines

ALL = PrivacyConfig()
LINES = [line.text for line in labelled_lines()]

SIGNS = [
    *PLACEHOLDERS.values(),
    *"0123456789.-/:+()[]@,;= \n\"'&aZ",
    *("version ", "tel ", "CPF ", "CNPJ", "password", "://", "key", "secret", "Bearer ", "\xa0", "İ", "ana"),
    *("@example.org", "8.8.99.", "+55 11 ", "90000-0011", "4111 1111 1111 1111", "529.982.247-25", "(11) "),
    *("pa55w0rd!", "11.222.333/0001-81", "2001:4860::88", "-----BEGIN PRIVATE KEY-----"),
]
fragments = st.lists(
    st.one_of(
        st.sampled_from(LINES),
        st.sampled_from(SIGNS),
        st.text(alphabet="0123456789 .-/", max_size=20),
        st.text(max_size=6),
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(fragments)
def test_replacing_twice_changes_nothing_more(text: str) -> None:
    once, _ = replace_personal(text, ALL)
    assert replace_personal(once, ALL) == (once, {})


@settings(deadline=None, max_examples=200)
@given(fragments)
def test_what_is_counted_is_what_was_put_in_and_the_rest_is_unchanged(text: str) -> None:
    replaced, counts = replace_personal(text, ALL)
    for kind, placeholder in PLACEHOLDERS.items():
        assert replaced.count(placeholder) - text.count(placeholder) == counts.get(kind, 0)
    if not counts:
        assert replaced == text


@settings(deadline=None, max_examples=100)
@given(fragments, fragments)
def test_a_document_is_not_changed_by_the_ones_before_it(one: str, other: str) -> None:
    alone = replace_personal(one, ALL)
    replace_personal(other, ALL)
    assert replace_personal(one, ALL) == alone


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([line for line in LINES if "PRIVATE KEY" not in line]), max_size=6))
def test_lines_are_read_by_themselves(lines: list[str]) -> None:
    together, _ = replace_personal("\n\n".join(lines), ALL)
    assert together == "\n\n".join(replace_personal(line, ALL)[0] for line in lines)


PARTS_OF_LONG_TEXTS = (
    *("1", "1 ", "1.", "+1", "(1", "1-", "a@", "@", "a.", "a@a.", "=", ":", "::", "/", "A/", "\n1\n", "İ"),
    *("password=", "key=a", "password is 'a", "Bearer a", "eyJa", "eyJaaaaaaaa.", "sk-", "AKIA", "://a:"),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----",
        "[at]",
        "a [at] ",
        "[email]",
        "2001:",
        "a" * 63 + ".",
        "CNPJ A",
    ),
    *("12345678901", "1234567890 ", "1111-1111 ", "0" * 50 + " ", "+55 11 9", "90000-0011 ", "(11) 9"),
    *("tel 1", "tel 11 90000-00"),
)


@pytest.mark.parametrize("part", PARTS_OF_LONG_TEXTS)
def test_time_is_linear_in_the_length_of_hostile_text(part: str) -> None:
    def seconds(characters: int) -> float:
        text = part * (characters // len(part))
        start = time.process_time()
        replace_personal(text, ALL)
        return time.process_time() - start

    short = min(seconds(20_000) for _ in range(3))
    # Eight times the text: a quadratic search would take 64 times as long.
    assert seconds(160_000) < 30 * short + 0.05


hostile = st.sampled_from([*"a1@.:-/+ (=[", "password=", "eyJ", "+55", "[email]"])


@settings(deadline=None, max_examples=50)
@given(st.lists(hostile, min_size=1, max_size=6))
def test_no_repeated_pattern_takes_long(parts: list[str]) -> None:
    text = "".join(parts) * (30_000 // len("".join(parts)))
    start = time.process_time()
    replace_personal(text, ALL)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_each_kind_can_be_switched_off(kind: Kind) -> None:
    _, counts = replace_personal("\n".join(LINES), PrivacyConfig.model_validate({kind: False}))
    assert set(counts) == set(PLACEHOLDERS) - {kind}


def test_placeholders_are_no_control_symbols_and_hold_none() -> None:
    assert not any(marker in placeholder for marker in MARKERS for placeholder in PLACEHOLDERS.values())
    assert not any(placeholder in marker for marker in MARKERS for placeholder in PLACEHOLDERS.values())
    assert len(set(PLACEHOLDERS.values())) == len(PLACEHOLDERS)


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.0.1", "192.0.2.77", "fe80::1", "2001:db8::1"])
def test_addresses_of_nobody_are_replaced_on_demand_alone(address: str) -> None:
    assert replace_personal(f"see {address}", ALL) == (f"see {address}", {})
    assert replace_personal(f"see {address}", PrivacyConfig(reserved_ip=True)) == ("see [ip]", {"ip": 1})


def test_check_digits_are_those_of_the_published_examples() -> None:
    assert luhn("79927398713")  # ISO/IEC 7812-1's customary example
    assert is_cpf("11144477735")
    assert is_cnpj("11222333000181")
    assert is_cnpj("12ABC34501DE35")  # Receita Federal's example of a number with letters
    assert not is_cpf("11111111111")
    assert not is_cnpj("12ABC34501DE36")


def test_text_without_signs_is_handed_back_as_it_is() -> None:
    text = "The mill stands where the river bends, and its wheel has turned for years.\n" * 100
    replaced, counts = replace_personal(text, ALL)
    assert replaced is text
    assert counts == {}
