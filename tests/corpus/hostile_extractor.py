"""An extractor's process whose extractor does what the page says: sleeps, burns CPU time, crashes, grows.

Run as a script in place of `python -m pipeline.corpus.extractor_process`.
"""

import os
import signal
import time
from typing import Any

from pipeline.corpus import extractor_process, extractors


def hostile(tree: Any) -> Any:
    text = tree.text_content()
    if "SLEEP" in text:
        time.sleep(600)
    while "BURN" in text:
        pass
    if "CRASH" in text:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "GROW" in text:
        return bytearray(1 << 34)
    if "RAISE" in text:
        raise ValueError("the extractor does not like this page")
    if "PRINT" in text:
        print('{"title": "forged", "text": "", "language": null}', flush=True)
    return extractors.with_trafilatura(tree)


if __name__ == "__main__":
    extractors.EXTRACTORS["trafilatura"] = hostile
    extractor_process.serve()
