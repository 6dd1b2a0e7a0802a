"""What one optimizer step was, and what ends a training in place of one."""

from dataclasses import dataclass

from pipeline.errors import StageError


class NonFiniteLossError(StageError):
    """The loss or the gradient became NaN or infinite; the weights were not updated with it."""

    passes = False
    remedy = "Lower pretrain.learning_rate, or train in float32; the run goes on from its last checkpoint."


class LossSpikesError(StageError):
    """One update after another was skipped because its loss or gradient stood far above the recent ones."""

    passes = False
    remedy = "Lower pretrain.learning_rate, look at the URLs in the journal, or raise pretrain.spike_guard."


@dataclass(frozen=True)
class Told:
    """What ranks tell each other along with the loss; the same on all of them."""

    save_due: bool
    """By the clock of rank 0, or because of the step."""
    leave: bool
    """A rank was told to go."""
    ask_due: bool
    """It is time to ask the cluster whether a node is to go."""


@dataclass(frozen=True)
class Update:
    """What one optimizer step was."""

    loss: float
    """Mean over all labels of the global batch, in nats."""
    gradient_norm: float
    """Before clipping."""
    labels: int
    learning_rate: float
    seconds: float
    loader_wait_seconds: float
    """Of them, those in which the next batch was not ready yet."""
    told: Told
