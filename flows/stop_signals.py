"""How a run is stopped: by Ctrl-C, by SIGTERM, by the end of its terminal."""

import contextlib
import math
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

UNHEARD_SECONDS = 3.0
AGAIN_SECONDS = 0.05
"""After which what was swallowed comes again: the destructor has ended by then."""
END = b"\0"
"""No signal has this number."""


class StopSignals:
    """Ctrl-C, SIGTERM and the end of the terminal stop a run in the same way: by KeyboardInterrupt.

    Further ones do not interrupt the stopping. Where Python swallows the first (in a destructor, say), it
    comes again at once; where the stopping has not begun after some seconds for another reason, the next
    one raises again. A thread says at once that the first was heard, also while a library keeps the main
    thread from it, as Ray does when it starts.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._raised = -math.inf
        self._is_stopping = False
        self._acknowledged = False

    def __enter__(self) -> Self:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has the terminal's end ignored, and that holds; a shell's script has Ctrl-C ignored by
            # what it starts in the background, but whoever sends that on purpose means it.
            if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
                self._before[each] = signal.signal(each, self._heard)
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._swallowed
        self._told, self._teller = os.pipe()
        os.set_blocking(self._teller, False)
        self._wakeup_before = signal.set_wakeup_fd(self._teller, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._acknowledge, daemon=True, name="signals")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        sys.unraisablehook = self._hook_before
        for each, handler in self._before.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._teller, END)
        self._thread.join()
        os.close(self._teller)
        os.close(self._told)

    def stopping(self) -> None:
        """From now on nothing interrupts."""
        self._is_stopping = True

    def resume(self) -> None:
        """From now on signals count again, and nothing is said of them."""
        self._is_stopping, self._raised, self._acknowledged = False, -math.inf, True

    def _acknowledge(self) -> None:
        """In a thread: Python writes the number of each signal into the pipe as soon as it comes."""
        while (number := os.read(self._told, 1)) != END:
            if number[0] in self._before and not self._acknowledged:
                self._acknowledged = True
                with contextlib.suppress(OSError):  # the terminal may be gone
                    print("stopping ... (what is finished stays)", file=sys.stderr, flush=True)

    def _swallowed(self, fault: Any) -> None:
        """In place of the traceback that Python prints of what it could not raise."""
        if fault.exc_type is KeyboardInterrupt:
            self._raised = -math.inf
            again = threading.Timer(AGAIN_SECONDS, self._again)
            again.daemon = True
            again.start()
        else:
            self._hook_before(fault)

    def _again(self) -> None:
        if not self._is_stopping:
            os.kill(os.getpid(), signal.SIGINT)

    def _heard(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._is_stopping and now - self._raised > UNHEARD_SECONDS:
            self._raised = now
            raise KeyboardInterrupt
