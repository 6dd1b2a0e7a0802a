from pipeline.corpus.boilerplate import line_hash, site_of, strip_lines


def test_common_lines_go_and_headings_tables_and_code_stay() -> None:
    text = "Menu\n\n# Menu\n\nOwn words.\n\n```\nMenu\n```\n\n| Menu |\n\n  Menu \n\nEnd."
    found = strip_lines(text, frozenset({line_hash("Menu"), line_hash("# Menu"), line_hash("| Menu |")}))
    assert found.text == "# Menu\n\nOwn words.\n\n```\nMenu\n```\n\n| Menu |\n\nEnd."
    assert found.removed == ("Menu", "Menu")


def test_a_text_without_common_lines_is_left_as_it_is() -> None:
    text = "\n\n\n\nOwn words.  \n"
    assert strip_lines(text, frozenset({line_hash("Menu")})).text == text


def test_neither_spaces_nor_numbers_make_another_line() -> None:
    assert line_hash("Page 3  of 17") == line_hash(" Page 12 of 17 ")
    assert line_hash("Page three") != line_hash("Page four")


def test_a_site_is_a_host_or_a_source() -> None:
    assert site_of("https://example.org:8080/a/b") == "example.org:8080"
    assert site_of("books/shelf/one.epub#2") == "books"
