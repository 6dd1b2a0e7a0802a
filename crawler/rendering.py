"""Renders one module and its submodules as documentation, in child processes that can be killed."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import StageError
from pipeline.shards import ShardOutput

MODULE_TIMEOUT_SECONDS = 120
"""A module that takes longer to import and render hangs; the slowest seen takes 5 s."""


class RendererError(StageError):
    """The process that renders pages ended without a module to blame."""

    remedy = "Read the log that the run names; leave the module out with site.exclude."


def render_modules(task: Mapping[str, Any], output: ShardOutput) -> dict[str, int]:
    """A Ray task: pages `html/<package>/<module>.html` of one entry and all its submodules.

    A module that cannot be imported, kills its process or hangs is left out and named in
    `left-out/<entry>.json` with its reason. Counts `pages` and `left-out.<reason>`.
    """
    folder = output.path("html")
    left_out: dict[str, str] = {}
    pages: list[str] = []
    short: list[str] = []
    while True:
        given = {
            **task,
            "output": str(folder),
            "skip": sorted({*left_out, *short}),
            "done": pages,
        }
        fault = _render_until_fault(given, pages, short, left_out)
        if fault is None:
            break
        module, reason = fault
        left_out[module] = reason
    if left_out:
        output.path(f"left-out/{task['entry']}.json").write_text(json.dumps(left_out, sort_keys=True))
    reasons = Counter(reason.partition(":")[0] for reason in left_out.values())
    counts = {f"left-out.{reason}": count for reason, count in sorted(reasons.items())}
    return {"pages": len(pages), "left-out.few-characters": len(short), **counts}


def _render_until_fault(
    task: Mapping[str, Any], pages: list[str], short: list[str], left_out: dict[str, str]
) -> tuple[str, str] | None:
    """Let one child process render what is left; None when it came to its end, or what stopped it."""
    current = task["entry"]
    with _rendering_child(task) as process:
        for line in _lines(process, MODULE_TIMEOUT_SECONDS):
            if line is None:
                return current, "timeout"
            report = json.loads(line)
            if "full" in report:
                number = int(report["full"])
                raise OSError(number, os.strerror(number), report["path"])
            if "begin" in report:
                current = report["begin"]
            elif report["outcome"] == "page":
                pages.append(report["end"])
            elif report["outcome"] == "few-characters":
                short.append(report["end"])
            else:
                left_out[report["end"]] = f"error: {report['reason']}"
        code = process.wait()
    if code == 0:
        return None
    if current in left_out:
        raise RendererError(f"the renderer of {task['entry']} ended with exit status {code} after {current}")
    return current, "crash"


@contextlib.contextmanager
def _rendering_child(task: Mapping[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is given nothing of this machine but where Python is: a page must not depend on it."""
    with tempfile.TemporaryDirectory(prefix="moinho-site-") as home:
        environment = {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
        }
        environment |= {
            "HOME": home,
            "XDG_CONFIG_HOME": home,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "80",
            "PYTHONHASHSEED": "0",
            "MPLBACKEND": "agg",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "crawler.pdoc_pages"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=environment,
        )
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(dict(task)).encode() + b"\n")
                process.stdin.flush()
            yield process
        finally:
            _end(process)


def _lines(process: subprocess.Popen[bytes], timeout_seconds: float) -> Iterator[str | None]:
    """Lines of the process's output; None, and then no more, if none came for so long."""
    assert process.stdout is not None
    rest = b""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], timeout_seconds)
        if not ready:
            yield None
            return
        block = os.read(process.stdout.fileno(), 1 << 16)
        if not block:
            return
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
