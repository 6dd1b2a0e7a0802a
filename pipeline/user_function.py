"""A function that the user writes: a reward, a rule that labels answers, a judge.

It is named as `rules.py:names_the_thing` and identified by the SHA-256 of that file. Its source travels to
where it is called, in a child process of its own, so that a function that hangs or ends its process takes
nothing with it. `FunctionProcess` is the caller's side, `serve` the child's whole life. A request is a
line of JSON on the child's standard input with a batch of rows; for every row a line comes back.
"""

import ast
import contextlib
import hashlib
import inspect
import json
import math
import numbers
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline.errors import InputError, StageError

FORM = "def names_the_thing(prompt, answer, ended, tokens, **row): return 1.0"
GIVEN = ("prompt", "answer", "ended", "tokens")
"""What each call is given by name, beside what else is known of the row: the messages before the answer, a
list of {role, content}; the answer's text; whether it ended by itself; its tokens."""
LOADING_SECONDS = 120.0
"""For the file's own imports."""
SHOWN_CHARACTERS = 300
"""Of a prompt and of an answer in a message."""
ORPHAN_SECONDS = 1.0

Row = Mapping[str, Any]


class UserFunctionError(InputError):
    """What is named as `file.py:function` is not a function that can be called with prompt and answer."""

    remedy = "Correct the name or the file; write a function like the one in the message."


class FunctionRaisedError(StageError):
    """A function of the user's raised an exception."""

    passes = False
    remedy = "Correct the function, or let it return a number for such an answer, too."


class FunctionValueError(StageError):
    """A function of the user's returned something else than a finite number, or a dict of such."""

    passes = False
    remedy = (
        "Let the function return a finite float for every answer, or a dict of them, which count together."
    )


class FunctionTimeoutError(StageError):
    """A function of the user's took longer for a batch of answers than it is given."""

    passes = False
    remedy = "Make the function end for such an answer, too, or give it more time."


class FunctionDiedError(StageError):
    """The process in which a function of the user's is called ended by itself."""

    passes = False
    remedy = (
        "Take out of the function what ends its process: os._exit, a crash of a library, too much memory."
    )


class Value(float):
    """What a function said of an answer; where it told parts, their sum."""

    parts: Mapping[str, float]
    """By name; empty where it gave a number."""

    def __new__(cls, value: float, parts: Mapping[str, float]) -> Self:
        made = super().__new__(cls, value)
        made.parts = parts
        return made


@dataclass(frozen=True)
class UserFunction:
    """A function by its file's content, so that it can be called on any machine."""

    reference: str
    """As the user names it."""
    path: str
    name: str
    source: str

    @property
    def sha256(self) -> str:
        """Of the source file: what the function is identified by, beside its name."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def meaning(self) -> str:
        """What its docstring says, in one line; empty where it has none. Nothing of the file is run."""
        for node in ast.parse(self.source).body:
            if isinstance(node, ast.FunctionDef) and node.name == self.name:
                return " ".join((ast.get_docstring(node) or "").split())
        return ""


def identity_of(reference: str) -> str:
    """What of a reference enters a key: the function's name, wherever its file lies."""
    return f"file:{reference.rpartition(':')[2]}"


def read_function(reference: str, field: str) -> UserFunction:
    """The function that `field` names as `file.py:function`; nothing of it is run.

    Raises UserFunctionError.
    """
    file, colon, name = reference.rpartition(":")
    if not colon or not name.isidentifier() or not file.endswith(".py"):
        raise UserFunctionError(
            f"{field} is {reference!r}; name a Python file and a function in it, such as "
            f'"rules.py:names_the_thing", with a function like `{FORM}`'
        )
    path = Path(file).expanduser().resolve()
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserFunctionError(
            f"{field} is {reference!r}, and {path} cannot be read ({error}); correct the path"
        ) from error
    return UserFunction(reference, str(path), name, source)


def load_function(reference: str, field: str, given: Collection[str] = GIVEN) -> UserFunction:
    """The function, loaded once in a process of its own, so that what is wrong shows before anything
    starts. `given`: the names that every call has. Raises UserFunctionError."""
    function = read_function(reference, field)
    with FunctionProcess(function, LOADING_SECONDS) as process:
        needed = process.start()
    missing = [name for name in needed if name not in given]
    if missing:
        raise UserFunctionError(
            f"{field}: {reference} wants {', '.join(missing)}, and is given {', '.join(given)}; write it "
            f"like `{FORM}`"
        )
    return function


class FunctionProcess:
    """A child process that calls the function. Used by one thread; ends with the `with` block."""

    def __init__(self, function: UserFunction, timeout_seconds: float) -> None:
        self.function, self.timeout_seconds = function, timeout_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._complaints.close()

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def start(self) -> list[str]:
        """Load the function if it is not yet; the names that it cannot be called without.

        Raises UserFunctionError if the file cannot be run or has no such function.
        """
        function = self.function
        self._child = child = _start(self._complaints)
        told: dict[str, Any] | None = None
        with self._limit(child, LOADING_SECONDS) as hung:
            _send(child.stdin, {"path": function.path, "name": function.name, "source": function.source})
            told = _answer(child)
        if told is None or "fault" in told:
            self.close()
            found = told["fault"] if told else self._ending(child, hung, LOADING_SECONDS)
            raise UserFunctionError(
                f"{function.reference} cannot be loaded: {found}; correct {function.path}, with a function "
                f"like `{FORM}` (the file stands alone: what it imports must be installed)"
            )
        return list(told["needs"])

    def __call__(self, rows: Sequence[Row]) -> list[Value]:
        """The function's value for every row of a batch; each row has `prompt`, `answer` and what else the
        function is given, as JSON types.

        Raises FunctionRaisedError, FunctionValueError, FunctionTimeoutError, FunctionDiedError, with the
        function's name, the prompt and the answer.
        """
        if self._child is None:
            self.start()
        child = self._child
        assert child is not None
        values: list[Value] = []
        with self._limit(child, self.timeout_seconds) as hung:
            _send(child.stdin, {"rows": list(rows), "seconds": self.timeout_seconds})
            for row in rows:
                told = _answer(child)
                if told is None:
                    break
                values.append(self._value(told, row))
        if len(values) < len(rows):
            self._refuse(child, rows, len(values), bool(hung))
        return values

    def _value(self, told: dict[str, Any], row: Row) -> Value:
        if "value" in told:
            return Value(told["value"], told["parts"])
        self.close()  # answers to the rest of the batch are on their way
        if "raised" in told:
            raise FunctionRaisedError(f"{self.function.reference} raised {told['raised']}; {_shown(row)}")
        raise FunctionValueError(
            f"{self.function.reference} returned {told['wrong']} in place of a finite number; {_shown(row)}"
        )

    def _refuse(self, child: "subprocess.Popen[bytes]", rows: Sequence[Row], done: int, hung: bool) -> None:
        row = rows[done]
        self.close()
        if hung:
            raise FunctionTimeoutError(
                f"{self.function.reference} did not return within {self.timeout_seconds:g} s for a batch of "
                f"{len(rows)} answers; it was at answer {done + 1}: {_shown(row)}"
            )
        raise FunctionDiedError(
            f"{self.function.reference}: its process ended, {self._ending(child, [], 0)}; {_shown(row)}"
        )

    def _ending(self, child: "subprocess.Popen[bytes]", hung: list[bool], seconds: float) -> str:
        if hung:
            return f"not done within {seconds:g} s"
        child.wait()
        status = child.returncode
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return f"{how}{': ' + said[-1] if said else ''}"

    @contextlib.contextmanager
    def _limit(self, child: "subprocess.Popen[bytes]", seconds: float) -> Iterator[list[bool]]:
        """Kill the child after so many seconds; what is yielded is then no longer empty."""
        hung: list[bool] = []

        def end() -> None:
            hung.append(True)
            child.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield hung
        finally:
            timer.cancel()


def _start(complaints: IO[bytes]) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.user_function"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        # a function that goes through a set goes through it in the same order each time
        env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"},
    )


def _send(stream: IO[bytes] | None, message: Mapping[str, Any]) -> None:
    assert stream is not None
    with contextlib.suppress(BrokenPipeError):  # the child is gone, which its missing answer tells
        stream.write(json.dumps(message).encode() + b"\n")
        stream.flush()


def _answer(child: "subprocess.Popen[bytes]") -> dict[str, Any] | None:
    """The child's next line, or None if it is gone."""
    assert child.stdout is not None
    line = child.stdout.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def _shown(row: Row) -> str:
    prompt = row.get("prompt")
    asked = prompt[-1]["content"] if isinstance(prompt, list) and prompt else prompt
    return f"prompt: {_short(asked)}; answer: {_short(row.get('answer'))}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def serve() -> None:
    """The child's whole life: load what the first line says, then answer batches until the input closes."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Whatever the function prints must not be taken for an answer, nor may it read what is not for it.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watching = (os.getppid(), requests.fileno())
    threading.Thread(target=_end_with_parent, args=watching, daemon=True).start()
    given = json.loads(requests.readline() or b"null")
    if given is None:
        return
    try:
        function, needs, accepts = _load(given)
    except BaseException as error:
        _send(answers, {"fault": _told(error, given["path"])})
        return
    _send(answers, {"needs": needs})
    for line in requests:
        request = json.loads(line)
        # a function that spins ends even where whoever asked was killed meanwhile
        signal.setitimer(signal.ITIMER_PROF, request["seconds"] * (os.cpu_count() or 1))
        for row in request["rows"]:
            _send(answers, _called(function, accepts, row, given["path"]))
        signal.setitimer(signal.ITIMER_PROF, 0)


def _load(given: Mapping[str, str]) -> tuple[Callable[..., Any], list[str], list[str] | None]:
    """The function, the names that it needs, and those that it takes (None: all)."""
    module = types.ModuleType("user_function")  # registered, since dataclasses look up where they are defined
    sys.modules[module.__name__] = module
    space = vars(module)
    space["__file__"] = given["path"]
    exec(compile(given["source"], given["path"], "exec"), space)
    function = space.get(given["name"])
    if not callable(function):
        names = sorted(name for name, value in space.items() if inspect.isfunction(value))
        raise LookupError(f"there is no function {given['name']!r}, only {', '.join(names) or 'no function'}")
    parameters = inspect.signature(function).parameters.values()
    by_name = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    needs = [each.name for each in by_name if each.default is each.empty]
    needs += [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return function, needs, None if takes_all else [each.name for each in by_name]


def _called(
    function: Callable[..., Any], accepts: Collection[str] | None, row: Mapping[str, Any], path: str
) -> dict[str, Any]:
    known = row if accepts is None else {name: value for name, value in row.items() if name in accepts}
    try:
        value = function(**known)
    except BaseException as error:
        return {"raised": _told(error, path)}
    each = list(value.values()) if isinstance(value, Mapping) else [value]
    finite = all(isinstance(part, numbers.Real) and math.isfinite(part) for part in each)
    if not each or not finite or not math.isfinite(sum(each)):
        return {"wrong": f"{_short(value)} ({type(value).__name__})"}
    parts = {str(name): float(part) for name, part in value.items()} if isinstance(value, Mapping) else {}
    return {"value": float(sum(each)), "parts": parts}


def _told(error: BaseException, path: str) -> str:
    """The error in a line, with the last line of the user's file that it went through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    text = " ".join(str(error).split())
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}{': ' + text if text else ''}{where}"


def _end_with_parent(parent: int, requests: int) -> None:
    """End when the parent is gone: its end of our input has closed, or another has adopted us."""
    watch = select.poll()
    watch.register(requests, 0)
    while os.getppid() == parent and not watch.poll(0):
        time.sleep(ORPHAN_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    serve()
