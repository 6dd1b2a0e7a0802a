"""`python -m tests.benchmarks.timed_run FILE run CONFIG …`: what `moinho` does, with the times between.

Writes `{"end of a part": time, …}` into FILE, in the order in which the parts end.
"""

import time

MARKS = {"interpreter": time.time()}

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import flows.cli  # noqa: E402

MARKS["imports of the command line"] = time.time()

import flows.commands.runs  # noqa: E402
import flows.planning  # noqa: E402
import flows.run  # noqa: E402

MARKS["imports of the flow"] = time.time()


def end(part: str) -> None:
    """Note the time as the end of the part: the last one, where a function is called more than once."""
    MARKS.pop(part, None)
    MARKS[part] = time.time()


def marked(module: Any, name: str, before: str, after: str) -> None:
    """Let `module.name` note the time when it is called, as the end of `before`, and that of its return."""
    original: Callable[..., Any] = getattr(module, name)

    def timed(*arguments: Any, **fields: Any) -> Any:
        end(before)
        found = original(*arguments, **fields)
        end(after)
        return found

    setattr(module, name, timed)


marked(flows.commands.runs, "load_configuration", "command line", "configuration")
marked(flows.planning, "refuse_early", "store and Ray's settings", "what can be refused early")
marked(flows.run, "Tracker", "signals", "tracker: journal, sender started")
marked(flows.run, "web_to_model", "display", "keys, site's identity, records")
marked(flows.run, "_drain", "display closed", "MLflow: the sender imports it, sends, ends")
marked(flows.run, "tell_stages", "tracker closed", "summary")

file = sys.argv.pop(1)
try:
    flows.cli.main()
finally:
    end("end of the command")
    Path(file).write_text(json.dumps(MARKS))
