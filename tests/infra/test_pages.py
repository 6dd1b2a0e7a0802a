"""The pages of infra/machines and infra/slurm say what their files say."""

import re
import subprocess
from pathlib import Path

import pytest

INFRA = Path(__file__).parents[2] / "infra"
PAGES = {
    INFRA / "machines/README.md": INFRA / "machines/start-node.sh",
    INFRA / "slurm/README.md": INFRA / "slurm/moinho.sbatch",
}


@pytest.mark.parametrize("script", [*PAGES.values(), *INFRA.glob("*.sh")], ids=lambda path: path.name)
def test_a_script_can_be_read_by_the_shell_that_it_names(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").strip()
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"\b((?:infra|tests|configs|flows|pipeline)/[\w./-]*\w)", page.read_text())
    assert named
    assert [name for name in named if not (INFRA.parent / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_a_page_and_its_script_know_the_same_variables(page: Path) -> None:
    variables = re.compile(r"\$\{?(MOINHO_[A-Z_]+|RAY_AUTH_TOKEN_PATH|GLOO_SOCKET_IFNAME):-")
    of_script = set(variables.findall(PAGES[page].read_text()))
    of_page = set(
        re.findall(r"`\$(MOINHO_[A-Z_]+|RAY_AUTH_TOKEN_PATH|GLOO_SOCKET_IFNAME)`", page.read_text())
    )
    assert of_page == of_script


def test_what_the_page_says_of_a_job_stands_in_the_job_script() -> None:
    page, script = (path.read_text() for path in (INFRA / "slurm/README.md", INFRA / "slurm/moinho.sbatch"))
    quoted = re.findall(r"`#SBATCH ([^`]+)`", page)
    assert quoted
    assert set(quoted) == set(re.findall(r"^#SBATCH (.+)$", script, re.MULTILINE))


@pytest.mark.parametrize("words", [[], ["head"], ["worker", "127.0.0.1"], ["other", "127.0.0.1"]])
def test_a_start_without_what_it_needs_says_how_it_is_called(words: list[str]) -> None:
    start = INFRA / "machines/start-node.sh"
    done = subprocess.run([str(start), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "use: start-node.sh head ADDRESS" in done.stderr


def test_a_start_at_an_address_of_another_machine_is_refused() -> None:
    start = INFRA / "machines/start-node.sh"
    done = subprocess.run([str(start), "head", "192.0.2.1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "192.0.2.1 is no address of this machine" in done.stderr


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o644)
    done = subprocess.run(
        [str(INFRA / "machines/start-node.sh"), "worker", "127.0.0.1", "192.0.2.1"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RAY_AUTH_TOKEN_PATH": str(token)},
    )
    assert done.returncode == 2
    assert f"others may read {token}" in done.stderr
