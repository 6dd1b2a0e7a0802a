from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.sections import cut_into_sections

pieces = st.sampled_from(
    [
        "# one\n",
        "## two\n\n",
        "### three\n",
        "```\n",
        "# in code\n",
        "word ",
        "çãé",
        "\n\n",
        "\n",
        "a. ",
        "𝛼𝛽",
        "x" * 70,
    ]
)
texts = st.one_of(st.lists(pieces, max_size=80).map("".join), st.text(max_size=400))


@settings(max_examples=300)
@given(text=texts, limit=st.integers(min_value=4, max_value=300))
def test_sections_joined_are_the_page_and_none_is_too_long(text: str, limit: int) -> None:
    sections = cut_into_sections(text, limit)
    assert "".join(sections) == text
    assert all(len(section.encode()) <= limit for section in sections)
    assert all(sections) or not text


def test_a_page_is_cut_at_its_highest_headings_and_not_inside_code() -> None:
    parts = [f"## Part {n}\n\n" + f"words of part {n} " * 5 + "\n\n```\n# comment\n```\n\n" for n in range(4)]
    text = "# Page\n\n" + "".join(parts)
    limit = max(len(part.encode()) for part in parts) + 10
    assert cut_into_sections(text, limit) == ["# Page\n\n" + parts[0], *parts[1:]]


def test_small_neighbours_stay_together() -> None:
    text = "".join(f"## {n}\n\nshort\n\n" for n in range(40))
    sections = cut_into_sections(text, 200)
    assert len(sections) < 6
    assert "".join(sections) == text


def test_a_page_that_fits_is_not_cut() -> None:
    assert cut_into_sections("# a\n\n## b\n", 20_000) == ["# a\n\n## b\n"]
