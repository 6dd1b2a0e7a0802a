"""Functions of the user's: their values come back, and what is wrong is told with prompt and answer."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.user_function import (
    FunctionDiedError,
    FunctionProcess,
    FunctionRaisedError,
    FunctionTimeoutError,
    FunctionValueError,
    UserFunctionError,
    load_function,
    read_function,
)

RULES = """
import math, os, time
import numpy as np

def length(answer, tokens, **row):
    print("this is no answer")
    try:
        input()
    except EOFError:
        pass
    return len(answer) + tokens * row["weight"]

def short(prompt, answer, ended):
    return np.float32(0.5) if ended else False

def hard(answer):
    if answer == "raise": raise ValueError("no such word")
    if answer == "nan": return math.nan
    if answer == "text": return "much"
    if answer == "nothing": return None
    if answer == "hang": time.sleep(60)
    if answer == "spin":
        while True: pass
    if answer == "die": os._exit(3)
    if answer == "exit": raise SystemExit(4)
    return 1

def counts(answer, ended):
    if answer == "none": return {}
    return {"length": len(answer), "ended": ended, "odd": math.nan if answer == "nan" else 0}

def wants(answer, colour): return 1.0
NUMBER = 3
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    (tmp_path / "rules.py").write_text(RULES)
    return str(tmp_path / "rules.py")


def rows(*answers: str) -> list[dict[str, object]]:
    asked = [{"role": "user", "content": "What is a tree?"}]
    return [{"prompt": asked, "answer": each, "ended": True, "tokens": 3, "weight": 2} for each in answers]


def test_values_come_back_in_order_and_what_is_printed_is_no_value(rules):
    with FunctionProcess(load_function(f"{rules}:length", "reward"), 20) as length:
        assert length(rows("a", "four")) == [7.0, 10.0]
        assert length([]) == []
        assert length(rows("abc")) == [9.0]
    with FunctionProcess(read_function(f"{rules}:short", "reward"), 20) as short:
        assert short(rows("a")) == [0.5]
        assert short([{**rows("a")[0], "ended": False}]) == [0.0]


def test_a_function_may_tell_the_parts_of_which_its_value_is_the_sum(rules: str) -> None:
    with FunctionProcess(load_function(f"{rules}:counts", "reward"), 20) as counts:
        found = counts(rows("an oak", "moss"))
        assert found == [7.0, 5.0]
        assert [each.parts["length"] for each in found] == [6.0, 4.0]
        assert json.dumps(found) == "[7.0, 5.0]"
        with pytest.raises(FunctionValueError, match=r"returned \{'length': 3, .* \(dict\)"):
            counts(rows("nan"))
        with pytest.raises(FunctionValueError, match=r"returned {} \(dict\)"):
            counts(rows("none"))


@pytest.mark.parametrize(
    ("answer", "error", "found"),
    [
        ("raise", FunctionRaisedError, r"raised ValueError: no such word \(line 17\)"),
        ("exit", FunctionRaisedError, r"raised SystemExit: 4"),
        ("nan", FunctionValueError, r"returned nan \(float\)"),
        ("text", FunctionValueError, r"returned 'much' \(str\)"),
        ("nothing", FunctionValueError, r"returned None \(NoneType\)"),
        ("hang", FunctionTimeoutError, r"within 2 s for a batch of 2 answers; it was at answer 2"),
        ("spin", FunctionTimeoutError, r"it was at answer 2"),
        ("die", FunctionDiedError, r"exit code 3"),
    ],
)
def test_what_is_no_number_is_told_with_function_prompt_and_answer(rules, answer, error, found):
    with FunctionProcess(read_function(f"{rules}:hard", "reward"), 2) as hard:
        hard.start()
        with pytest.raises(error, match=found) as told:
            hard(rows("fine", answer))
    assert f"{rules}:hard" in str(told.value)
    assert "prompt: 'What is a tree?'" in str(told.value)
    assert f"answer: '{answer}'" in str(told.value)


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("rules.py", "name a Python file and a function in it"),
        ("nowhere.py:length", "cannot be read"),
        ("{rules}:colour", "there is no function 'colour', only counts, hard, length, short, wants"),
        ("{rules}:NUMBER", "there is no function 'NUMBER'"),
        ("{rules}:wants", "wants colour, and is given prompt, answer, ended, tokens"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_starts(rules, reference, found):
    with pytest.raises(UserFunctionError, match=found):
        load_function(reference.format(rules=rules), "grpo.reward")


def test_a_file_that_cannot_be_run_is_refused_with_its_line(tmp_path):
    (tmp_path / "rules.py").write_text("import nothing_like_that\ndef f(answer): return 1")
    with pytest.raises(UserFunctionError, match=r"No module named 'nothing_like_that' \(line 1\)"):
        load_function(f"{tmp_path / 'rules.py'}:f", "grpo.reward")


def test_a_file_may_define_what_looks_up_its_own_module(tmp_path):
    lines = (
        "from __future__ import annotations",
        "from dataclasses import dataclass",
        "@dataclass",
        "class Found:",
        "    words: int",
        "def count(answer, **row): return Found(len(answer.split())).words",
    )
    (tmp_path / "rules.py").write_text("\n".join(lines))
    with FunctionProcess(load_function(f"{tmp_path}/rules.py:count", "reward"), 20) as count:
        assert count(rows("one two")) == [2.0]


def test_a_function_is_identified_by_its_files_content(rules, tmp_path):
    first = read_function(f"{rules}:length", "reward")
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "rules.py"
    moved.write_text(RULES)
    assert read_function(f"{moved}:length", "reward").sha256 == first.sha256
    moved.write_text(f"{RULES}\n")
    assert read_function(f"{moved}:length", "reward").sha256 != first.sha256


CALLER = """
import sys
from pipeline.user_function import FunctionProcess, read_function
with FunctionProcess(read_function(sys.argv[1], "reward"), 60) as process:
    process.start()
    print(process._child.pid, flush=True)
    process([{"answer": sys.argv[2]}])
"""


def test_the_child_is_gone_soon_after_its_caller_was_killed(rules):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, f"{rules}:hard", "hang"], stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    child = psutil.Process(int(caller.stdout.readline()))
    os.kill(caller.pid, signal.SIGKILL)
    caller.communicate()
    end = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)
