import re
import tomllib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from flows.configuration import ConfigurationError, load
from flows.inspection import as_toml
from flows.web_to_model import WebToModel
from pipeline.config import Config
from tests.road import CONFIG


class Mill(Config):
    stones: int = Field(default=2, ge=1)
    grains: tuple[str, ...] = ("wheat",)

    @model_validator(mode="after")
    def stones_come_in_pairs(self) -> "Mill":
        if self.stones % 2:
            raise ValueError(f"stones is {self.stones}, not even; try {self.stones + 1}")
        return self


class River(Config):
    boats: dict[str, int] = Field(default_factory=dict)
    flow: float | None = None
    grain: str = ""


class Farm(Config):
    name: str
    mill: Mill = Mill()
    river: River = River()


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def fault(path: Path, *settings: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(Farm, path, settings)
    return str(caught.value)


def test_a_file_extends_another_and_settings_come_last(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", 'name = "base"\n[mill]\nstones = 4\ngrains = ["rye"]\n')
    path = write(tmp_path, "top.toml", 'extends = "base.toml"\nname = "top"\n[mill]\ngrains = ["maize"]\n')
    farm = load(Farm, path, ["river.flow=0.5", "mill.stones=6"])
    assert farm == Farm(name="top", mill=Mill(stones=6, grains=("maize",)), river=River(flow=0.5))


def test_a_value_of_several_kinds_has_one_fault(tmp_path: Path) -> None:
    class Sails(Config):
        many: Annotated[int, Field(ge=1)] | Literal["all"] = 4

    path = write(tmp_path, "sails.toml", "many = 4\n")
    with pytest.raises(ConfigurationError) as caught:
        load(Sails, path, ["many=some"])
    assert str(caught.value) == (
        "--set many=some: many: write a whole number, or: input should be 'all', found 'some'"
    )


def test_a_section_supersedes_what_an_extended_file_sets(tmp_path: Path) -> None:
    class Windmill(Farm):
        supersedes: ClassVar = {"river": (("mill", "stones"),)}

    write(tmp_path, "base.toml", 'name = "base"\n[mill]\nstones = 4\ngrains = ["rye"]\n')
    path = write(tmp_path, "top.toml", 'extends = "base.toml"\n[river]\nflow = 0.5\n')
    expected = Farm(name="base", mill=Mill(grains=("rye",)), river=River(flow=0.5)).model_dump()
    assert load(Windmill, path).model_dump() == expected
    assert load(Windmill, tmp_path / "base.toml", ["river.flow=0.5"]).model_dump() == expected
    assert load(Windmill, path, ["mill.stones=6"]).mill.stones == 6


def test_a_setting_without_a_value_is_the_default_again(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('name = "site"\n[site]\nmodules = ["json"]\n[pretrain]\nsteps = 7\n')
    assert load(WebToModel, path).pretrain.steps == 7
    found = load(WebToModel, path, ["pretrain.steps="]).pretrain
    assert found.steps is None
    assert "steps" not in found.model_fields_set
    with pytest.raises(ConfigurationError, match=r"no file sets pretrain\.stepz"):
        load(WebToModel, path, ["pretrain.stepz="])


def test_a_setting_that_is_no_toml_value_is_text(tmp_path: Path) -> None:
    assert load(Farm, write(tmp_path, "farm.toml", 'name = "a"\n'), ["name=b c"]).name == "b c"


def test_a_misspelt_key_names_the_file_and_the_nearest_valid_key(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n[mill]\nstone = 2\n')
    assert fault(path) == f"{path}: mill.stone: unknown key; did you mean mill.stones?"


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n')
    assert fault(path, "stones=2") == "--set stones=2: stones: unknown key; did you mean mill.stones?"


def test_a_key_that_exists_elsewhere_is_meant_rather_than_one_that_looks_like_it(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n')
    assert fault(path, "river.grains=2").endswith("did you mean mill.grains?")


def test_a_misspelt_section_is_blamed_on_the_setting_that_has_it(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n')
    assert fault(path, "mil.stones=4").startswith("--set mil.stones=4: mil: unknown key; did you mean mill?")


def test_a_single_value_where_a_list_belongs_is_told_how_a_list_is_written(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n')
    assert "write a list" in fault(path, "mill.grains=rye")


def test_each_fault_has_its_own_line(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", '[mill]\nstones = "many"\n[river]\nflow = "fast"\n')
    lines = fault(path).splitlines()
    assert len(lines) == 3
    assert f"{path}: name: missing" in lines[0]
    assert "mill.stones" in lines[1]
    assert "'many'" in lines[1]
    assert "river.flow" in lines[2]


def test_a_value_that_would_work_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "farm.toml", 'name = "a"\n')
    assert "stones is 3, not even; try 4" in fault(path, "mill.stones=3")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = a", "not TOML"),
        ('name = "a"\nextends = "self.toml"', "leads back to itself"),
        ('name = "a"\nextends = "nowhere.toml"', "self.toml); the path counts from the file that extends"),
        ('name = "a"\nextends = 3', "write a file name"),
        ('name = "a"\nname = "b"', "it is there twice, remove one"),
        ("[mill]\nstones = 2\n[mill]\nstones = 4", "it is there twice, remove one"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, told: str) -> None:
    assert told in fault(write(tmp_path, "self.toml", text))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "farm.toml", "")
    assert "farm.toml" in fault(tmp_path / "fram.toml")


def test_a_bare_name_and_a_folder_lead_to_the_files_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for name in ("configs/farm.toml", "configs/mill.toml", "pyproject.toml"):
        write(tmp_path, name, "")
    assert fault(Path("mill")) == "mill: no such file; there is configs/mill.toml"
    told = "configs: a folder, not a configuration file; there is configs/farm.toml, configs/mill.toml"
    assert fault(Path("configs")) == told


@pytest.mark.parametrize(("name", "fit"), [("my site/1", "my-site-1"), ("açaí", "a-a"), ("-", "mysite")])
def test_a_name_that_fits_no_path_is_told_which_letters_do(name: str, fit: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(WebToModel, CONFIG, [f'name="{name}"'])
    told = (
        f"found {name!r}; letters without accents, digits, _ . and - are allowed, and the first is a letter"
    )
    assert told in str(caught.value)
    assert str(caught.value).endswith(f'try "{fit}"')


@pytest.mark.parametrize("setting", ["stones", "=3", "mill.=3", "name.first=3"])
def test_a_malformed_setting_says_how_to_write_one(tmp_path: Path, setting: str) -> None:
    assert f"--set {setting}" in fault(write(tmp_path, "farm.toml", 'name = "a"\n'), setting)


def test_a_printed_configuration_loads_again(tmp_path: Path) -> None:
    farm = Farm(name='quo"te\\ é', mill=Mill(grains=("a", "b")))
    assert load(Farm, write(tmp_path, "printed.toml", as_toml(farm))) == farm


@given(st.lists(st.text(), max_size=5))
def test_lists_of_any_texts_are_printed_as_they_are(grains: list[str]) -> None:
    printed = tomllib.loads(as_toml(Farm(name="a", mill=Mill(grains=tuple(grains)))))
    assert printed["mill"]["grains"] == grains


def test_what_is_not_set_is_printed_where_it_may_be_set(tmp_path: Path) -> None:
    printed = as_toml(Farm(name="a", river=River(boats={"Anna": 2})))
    path = write(tmp_path, "printed.toml", printed.replace("# flow is not set", "flow = 0.5"))
    assert load(Farm, path).river == River(boats={"Anna": 2}, flow=0.5)


def test_the_best_of_duplicates_cannot_be_kept_where_nothing_is_scored() -> None:
    with pytest.raises(ConfigurationError, match="without a classifier no document has a score"):
        load(WebToModel, CONFIG, ["clean.keeper=best-quality"])


def test_documents_of_the_run_itself_are_no_earlier_ones() -> None:
    with pytest.raises(ConfigurationError, match="own/documents, and that is what this run makes"):
        load(WebToModel, CONFIG, ["name=own", 'clean.earlier=["own/documents"]'])
    assert load(WebToModel, CONFIG, ["name=own", 'clean.earlier=["old/documents"]']).clean.earlier


def crawl_faults(folder: Path, text: str, *settings: str) -> list[str]:
    """Of a configuration with this below [crawl]: what is said of each fault."""
    path = write(folder, "crawl.toml", f'name = "a"\n[crawl]\n{text}')
    with pytest.raises(ConfigurationError) as caught:
        load(WebToModel, path, settings)
    return str(caught.value).replace(f"{path}: ", "FILE: ").splitlines()


def test_each_pattern_that_matches_no_url_is_told_with_its_place(tmp_path: Path) -> None:
    text = 'seeds = ["https://a.example/"]\nallow = ["(", "a.example", "git-a"]\n'
    first, second, third = crawl_faults(tmp_path, text, 'crawl.deny=["a#b"]')
    assert first.startswith("FILE: crawl.allow: pattern '(': '(' is not a host name")
    assert second.startswith("FILE: crawl.allow: pattern 'git-a' is taken for a host")
    assert third.startswith("--set crawl.deny=[\"a#b\"]: crawl.deny: pattern 'a#b' has a backslash")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('languages = ["pt", "english"]', "'english' is no code of a language; write one such as \"en\""),
        ('languages = ["pt_BR"]', "'pt_BR' is no code of a language; write one such as \"pt-BR\""),
        ('languages = ["und"]', "write one such as"),
        ('content_types = ["text/*", "pdf"]', "'pdf' is no media type in lower case and without parameters"),
        ('content_types = ["pdf"]', 'write "application/pdf"'),
        ('content_types = ["Text/HTML; charset=utf-8"]', 'write "text/html"'),
        ("content_types = []", "is empty, so that nothing would be a page"),
        ('user_agent = ""', "'' does not begin with a name"),
        ('user_agent = " "', 'write one such as "mycrawler/1.0", or leave it out'),
        ('contact = "me"', "'me' is neither a URL nor an e-mail address"),
        ('contact = " "', "neither a URL nor an e-mail address"),
        ('allowed_hosts = ["*.example.org"]', "patterns belong into crawl.allow"),
        ('allowed_hosts = ["example.org:80"]', "write it without scheme, port and path"),
        ('private_hosts = ["my host"]', "'my host' is not a host name"),
        ('sitemaps = "https://a.example/sitemap.xml"', "a sitemap's own URL belongs into crawl.seeds"),
        ("snapshot = 20260131", "20260131 is not a date; write one as 2026-01-31"),
        ('snapshot = "0026-01-31"', "0026-01-31 is not a date of a crawl"),
        ('snapshot = "soon"', "write a date, such as 2026-01-31, found 'soon'"),
        ("max_pages = true", "write a number, found True"),
        ("max_seconds = 0", "greater than 0, found 0"),
        ("delay_seconds = -1", "greater than or equal to 0, found -1"),
    ],
)
def test_a_setting_of_the_crawl_that_makes_no_sense_is_refused(
    tmp_path: Path, setting: str, told: str
) -> None:
    (fault,) = crawl_faults(tmp_path, f'seeds = ["https://a.example/"]\n{setting}\n')
    assert fault.startswith(f"FILE: crawl.{setting.partition(' ')[0]}: ")
    assert told in fault


def test_hosts_are_known_as_urls_spell_them(tmp_path: Path) -> None:
    hosts = '"Example.ORG", "CAFÉ.example", "[0:0::1]", "127.0.0.1"'
    path = write(tmp_path, "a.toml", f'name = "a"\n[crawl]\nseeds_file = "s"\nallowed_hosts = [{hosts}]\n')
    assert load(WebToModel, path).crawl.allowed_hosts == (
        "example.org",
        "xn--caf-dma.example",
        "::1",
        "127.0.0.1",
    )


def test_opt_outs_are_set_one_by_one(tmp_path: Path) -> None:
    seeds = 'seeds = ["https://a.example/"]\n'
    (told,) = crawl_faults(tmp_path, f"{seeds}opt_outs = false\n")
    assert told.startswith("FILE: crawl.opt_outs: found False; it has a setting for each, write such as ")
    assert "[crawl.opt_outs] and below it noindex = false; there are: noindex, nofollow, noai," in told
    (told,) = crawl_faults(tmp_path, seeds, "crawl.opt_outs=false")
    assert "write such as --set crawl.opt_outs.noindex=false; there are:" in told


@pytest.mark.parametrize("name", ["robots", "obey_robots", "ROBOTSTXT_OBEY"])
def test_no_setting_makes_a_crawl_ignore_robots_txt(tmp_path: Path, name: str) -> None:
    told = crawl_faults(tmp_path, f'seeds = ["https://a.example/"]\n{name} = false\n')
    assert told == [
        f"FILE: crawl.{name}: robots.txt is always obeyed, and no setting changes that; leave it out"
    ]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("crawl.seed=1", "did you mean crawl.seeds?"),
        ("crawl.delay=1", "did you mean crawl.delay_seconds?"),
        ("crawl.opt_outs.robots=false", "robots.txt is always obeyed"),
        ('clean.languages=["pt_BR"]', "did you mean pt-BR?"),
        ('clean.languages=["zz"]', "py3langid tells apart: ace, af,"),
        (
            'sources=[{name = "a", path = "x"}, {name = "manual", path = "y", knd = "web"}]',
            '[[sources]] "manual": unknown key knd; did you mean kind?',
        ),
        ('sources=[{name = "manual", path = "y", kind = "wbe"}]', '[[sources]] "manual": kind: '),
        ('sources=[{path = "y", kind = "wbe"}]', "[[sources]] number 1: name: missing"),
        ('clean.contamination.sets=[{pth = "y"}]', "[[clean.contamination.sets]] number 1: unknown key pth"),
        ('compute.hosts={"*.test" = "127.0.0.1:9"}', "write each name whole"),
    ],
)
def test_what_was_probably_meant_is_named(tmp_path: Path, setting: str, told: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\n')
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        load(WebToModel, path, [setting])


def test_a_least_quality_needs_a_classifier() -> None:
    with pytest.raises(ConfigurationError, match="without a classifier no document has a score"):
        load(WebToModel, CONFIG, ["clean.least_quality=0.5"])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("clean.least_quality=0.2", r"^--set clean.least_quality=0.2: clean.least_quality is set"),
        (
            'clean.languages=["pt_BR"]',
            r'base.toml with --set clean.languages=\["pt_BR"\]: clean: there are no',
        ),
    ],
)
def test_a_setting_that_does_not_go_with_others_is_named(tmp_path: Path, setting: str, told: str) -> None:
    path = tmp_path / "base.toml"
    path.write_text('name = "base"\ncrawl.seeds = ["https://a.example/"]\n[clean]\nduplicate_bands = 14\n')
    with pytest.raises(ConfigurationError, match=told):
        load(WebToModel, path, [setting])
