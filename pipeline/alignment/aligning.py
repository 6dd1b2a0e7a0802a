"""What every way to align a model shares in the worker: the reference, the guards, and what is told."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.alignment.align import AlignConfig
from pipeline.alignment.guards import Guards, Vitals
from pipeline.alignment.prompts import Prompt
from pipeline.alignment.rewards import Reward
from pipeline.alignment.watched import Judgement, draw, judgement, shown
from pipeline.store import Attempt, File
from pipeline.training.adapter import load_base
from pipeline.training.group import Group
from pipeline.training.tuning import Run
from pipeline.training.tuning_config import TuningJob

STORY = "alignment.json"


def reference_model(job: TuningJob, group: Group) -> PreTrainedModel:
    """The model before its first step, as nothing changes it: loaded anew, also where a run goes on."""
    model, _ = load_base(job, group)
    model.requires_grad_(False)
    torch.nn.Module.to(model, group.device)
    return model


def weights_now(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy of the trained weights as they are, on the CPU."""
    return {
        name: weight.detach().to("cpu", copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


class Aligning:
    """Judges a model on its way, and ends the training where a guard says so."""

    def __init__(
        self,
        config: AlignConfig,
        prompts: Sequence[Prompt],
        reference: PreTrainedModel,
        reward: Reward | None,
    ) -> None:
        self.config, self.prompts, self.reference, self.reward = config, prompts, reference, reward
        self.good_weights: dict[str, torch.Tensor] = {}
        """As they stood when nothing was wrong with the answers; in every checkpoint."""

    def kept(self, run: Run) -> dict[str, Any]:
        """The good weights, for a checkpoint or to be filled from one; at first those that it begins with."""
        if not self.good_weights:
            self.good_weights = weights_now(run.model)
        return {"good": self.good_weights}

    def judge(self, run: Run) -> Judgement:
        """The model's answers at this step, journalled. Every rank calls it."""
        answers = draw(run, self.prompts, self.reference, self.config.answer_tokens, self.reward)
        found = judgement(answers)
        if run.group.is_first and self.config.shown_answers:
            run.journal.text("answers", run.done, shown(answers, self.config.shown_answers))
        run.memory.setdefault("before", found.told())
        run.memory["after"] = found.told()
        return found

    def guarded(
        self, run: Run, vitals: Vitals, weights: dict[str, torch.Tensor], *, last: bool = False
    ) -> str | None:
        """Why the training has to end, if so. `weights`: those that gave these answers; where nothing is
        wrong with them, they are what is gone back to, should the next ones collapse. The last answers get
        no second chance."""
        guards = Guards(self.config.guards, run.memory.setdefault("guards", {}))
        faults = guards.judge(vitals)
        if not faults:
            self.good_weights = weights
            return None
        if run.group.is_first:
            run.journal.write(
                "warning", message=f"{self.config.section}, step {run.done}: " + "; ".join(faults)
            )
        return "; ".join(faults) if guards.gives_up or last else None

    @torch.no_grad()
    def go_back(self, run: Run) -> None:
        """Set the weights to the last good ones."""
        weights = dict(run.model.named_parameters())
        for name, value in self.good_weights.items():
            weights[name].copy_(value)

    def story(self, run: Run, attempt: Attempt) -> dict[str, File]:
        """Before and after, and why it ended early if it did, as a file of the record."""
        path = attempt.path(STORY)
        told: Mapping[str, Any] = {
            "steps": run.done,
            "planned_steps": run.steps,
            "stopped": run.stopped,
            "before": run.memory.get("before"),
            "after": run.memory.get("after"),
        }
        path.write_text(json.dumps(told, indent=2))
        return {STORY: attempt.publish(path)}

    def figures(self, run: Run) -> dict[str, float]:
        """For the record: how the answers are now, and those that tell most as they were."""
        before, after = run.memory["before"], run.memory["after"]
        names = [name for name in ("reward", "answer_tokens", "ended_share") if name in before]
        return {**after, **{f"{name}_before": before[name] for name in names}}
