"""MLflow: a run for each flow, one below it for each stage, and the models, registered.

The driver only appends to a journal in the store (`Tracker`). A child process reads that journal
and those of the stages, and sends them on (`sender`), so that importing MLflow, a slow server or
one that is away never holds up or stops the work. What could not be sent stays in the store and
is sent by the next run.
"""

from pipeline.tracking.destination import Destination, PortInUseError, serve_ui, ui_command
from pipeline.tracking.tracker import Flow, Tracker

__all__ = ["Destination", "Flow", "PortInUseError", "Tracker", "serve_ui", "ui_command"]
