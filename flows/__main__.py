"""Where `moinho` begins: Ctrl-C is answered from the first import on."""

import os
import signal
import sys
from types import FrameType

STOPPED = 130


def main() -> None:
    """Import the command line and run it. Exits as flows/cli.py says."""
    # In an import there is nothing to put in order, and a library may take the exception for its own fault.
    interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interrupts:
        signal.signal(signal.SIGINT, _leave)
    from flows.cli import main as run_command

    if interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.stderr.write("stopped\n")
    sys.stderr.flush()
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
