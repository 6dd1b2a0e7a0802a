"""The loss compiled by torch.compile, and tried before it is believed in."""

import logging
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.errors import StageError
from pipeline.models.objectives.batches import EVALUATION, Objective
from pipeline.tokens.mixture import TrainingRows
from pipeline.training.compile_cache import compiling
from pipeline.training.forward import LossFunction, to_device
from pipeline.training.group import Group
from pipeline.training.layout import layers_of
from pipeline.training.resolve import Resolved

log = logging.getLogger(__name__)


class CompileError(StageError):
    """torch.compile was asked for by name and does not work here."""

    passes = False
    remedy = "Install g++ and Python's headers (python3-dev), or leave compute.compile out."


def compiled(
    resolved: Resolved,
    eager: LossFunction,
    model: PreTrainedModel,
    rows: TrainingRows,
    objective: Objective,
    group: Group,
    *,
    asked: bool | None,
    by_layer: bool = False,
) -> tuple[Resolved, LossFunction]:
    """The loss compiled and tried on a batch, on every rank; eager where that fails and was not asked for.

    `by_layer`: each layer by itself, in place, for models whose weights are gathered layer by layer;
    otherwise the loss as a whole. Raises CompileError if `compute.compile` is true and it does not work.
    """
    if not resolved.compile:
        return resolved, eager
    size = resolved.micro_batch_rows
    batch = objective(rows, _first_rows(size, len(rows)), EVALUATION)
    given = to_device(batch, size, rows.pad, group.device).given
    fault = None
    for afresh in (False, True):  # what fails may be code that somebody left half written
        loss_of = _by_layer(model, eager) if by_layer else torch.compile(eager, dynamic=False)
        try:
            with compiling(afresh=afresh):
                loss_of(*given).backward()  # type: ignore[no-untyped-call]
            fault = None
            break
        except Exception as error:  # whatever a missing or broken compiler leads to
            fault = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            torch._dynamo.reset()
    if fault:
        log.warning("torch.compile does not work here, going on without: %s", fault)
    model.zero_grad(set_to_none=True)
    if group.everywhere(fault is None):
        return resolved, loss_of
    if asked:
        raise CompileError(
            f"compute.compile is true, but torch.compile fails here ({fault or 'on another worker'}); "
            "install g++ and Python's headers (python3-dev), or leave compute.compile out"
        )
    for layer in layers_of(model):
        layer._compiled_call_impl = None
    return Resolved(**{**resolved.as_dict(), "compile": False}), eager


def _by_layer(model: PreTrainedModel, eager: LossFunction) -> LossFunction:
    """One layer's code serves them all, since all have the same shapes."""
    for layer in layers_of(model):
        layer.compile(dynamic=False)
    return eager


def _first_rows(size: int, total: int) -> Any:
    return torch.arange(min(size, total)).numpy()
