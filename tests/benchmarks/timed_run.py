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
import flows.run  # noqa: E402

MARKS["imports of the flow"] = time.time()


def marked(module: Any, name: str, before: str, after: str) -> None:
    """Let `module.name` note the time when it is called, as the end of `before`, and that of its return."""
    original: Callable[..., Any] = getattr(module, name)

    def timed(*arguments: Any, **fields: Any) -> Any:
        MARKS[before] = time.time()
        found = original(*arguments, **fields)
        MARKS[after] = time.time()
        return found

    setattr(module, name, timed)


marked(flows.commands.runs, "load_configuration", "command line", "configuration")
marked(flows.run, "Tracker", "store and Ray's settings", "tracker: journal, sender started")
marked(flows.run, "web_to_model", "display", "keys, site's identity, records")
marked(flows.run, "_drain", "display closed", "MLflow: the sender imports it, sends, ends")
marked(flows.run, "tell_stages", "tracker closed", "summary")

file = sys.argv.pop(1)
try:
    flows.cli.main()
finally:
    MARKS["end of the command"] = time.time()
    Path(file).write_text(json.dumps(MARKS))
