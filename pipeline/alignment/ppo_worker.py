"""PPO in each training process: draw answers, judge them, save where they are good, learn from them.

All that is drawn hangs on (seed, step, place in the batch) alone, and a checkpoint is taken before a step's
answers are learned from: a run that goes on from it draws the very same ones.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch

from pipeline.alignment.aligning import Aligning
from pipeline.alignment.guards import Guards
from pipeline.alignment.ppo import PpoJob, check_minibatches
from pipeline.alignment.ppo_rollouts import Rollout, scored, told_of, vitals_of
from pipeline.alignment.ppo_updates import Updates
from pipeline.alignment.prompts import Prompt, apart, prompts_of
from pipeline.alignment.rewards import Answer, on_all, open_reward
from pipeline.alignment.value_model import ActorCritic, critic_of, frozen
from pipeline.alignment.watched import answer_seed
from pipeline.models.generation import context_tokens, sample, stop_ids
from pipeline.models.model import Model
from pipeline.models.saving import save_language_model
from pipeline.training.group import Group
from pipeline.training.schedule import learning_rate_factor
from pipeline.training.trainer import JOURNAL_SECONDS
from pipeline.training.tuning import Objective, Result, Run, spread
from pipeline.training.tuning_config import TooFewRowsError


class Ppo(Objective):
    """Policy, critic, reference and reward, and the prompts that are answered."""

    model: Any
    """An ActorCritic: it is saved, moved and updated as one."""

    def __init__(self, job: PpoJob, group: Group) -> None:
        self.job, self.config = job, job.config
        check_minibatches(job.config, group.size)  # which may be others than at the start
        policy, self.tokenizer = job.base.load(torch.float32)
        self.reference = frozen(policy)
        torch.nn.Module.to(self.reference, group.device)
        self.model = ActorCritic(policy, critic_of(job.reward, policy))
        self.model.train(False)  # with dropout the same weights would give other probabilities each time
        room = context_tokens(policy) - job.config.answer_tokens
        prompts, self.too_long = prompts_of(self.tokenizer, job.conversations.rows("train"), room)
        self.prompts, self.watched = apart(prompts, job.config.evaluation_prompts)
        if not self.watched:
            raise TooFewRowsError(
                f"{len(prompts)} prompts are there ({self.too_long} more leave no room for an answer of "
                f"{job.config.answer_tokens} tokens in the model's context), and some are to be kept apart: "
                "bring more, or lower ppo.answer_tokens"
            )
        self.reward = open_reward(job.reward, group.device, job.config.reward_seconds)
        self.aligning = Aligning(job.config, self.watched, self.reference, self.reward)
        self.lengths = [len(prompt.ids) for prompt in self.prompts]
        self.stops = stop_ids(self.tokenizer)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with the longest answer."""
        return max(self.lengths) + self.config.answer_tokens

    def train(self, run: Run) -> None:
        """Step after step, up to the last or until the guards end it."""
        Training(self, run).go()

    def draw(self, run: Run, prompts: Sequence[Prompt], purpose: int | str) -> list[Rollout]:
        """An answer to each prompt, on every rank all of them; each rank draws its share.

        `purpose` and an answer's place fix what is drawn. Raises what the reward raises, on all ranks.
        """
        shares = np.array_split(np.arange(len(prompts)), run.group.size)
        mine = [int(place) for place in shares[run.group.rank]]
        seeds = [answer_seed(self.config.seed, purpose, place) for place in mine]
        own = [prompts[place] for place in mine]
        parts = on_all(run.group, lambda: self._drawn(run, own, seeds))
        return [each for part in parts for each in part]

    def _drawn(self, run: Run, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Rollout]:
        asked, together = [prompt.ids for prompt in prompts], run.resolved.micro_batch_rows
        with run.autocast():
            drawn = sample(
                self.model.policy,
                asked,
                max_tokens=self.config.answer_tokens,
                stop=self.stops,
                temperature=self.config.temperature,
                seeds=seeds,
                batch=together,
            )
        answers = [
            Answer.to(prompt, each, self.tokenizer) for prompt, each in zip(prompts, drawn, strict=True)
        ]
        ids = [each.ids for each in drawn]
        judged = scored(
            self.model.policy,
            self.reference,
            self.model.critic,
            asked,
            ids,
            temperature=self.config.temperature,
            together=together,
            autocast=run.autocast,
        )
        rewards = self.reward(answers) if answers else []
        every = zip(answers, asked, ids, rewards, judged, strict=True)
        return [
            Rollout(answer, prompt, answer_ids, reward, **vars(numbers))
            for answer, prompt, answer_ids, reward, numbers in every
        ]

    def evaluate(self, run: Run) -> float:
        """Answers to prompts that were kept apart, with the same chances each time; gives minus their
        reward."""
        rollouts = self.draw(run, self.watched, "evaluation")
        told = told_of(rollouts)
        run.memory.setdefault("before", told)
        run.memory["after"] = told
        if run.group.is_first:
            run.journal.metrics(run.done, **{f"held_out_{name}": value for name, value in told.items()})
            if self.config.shown_answers:
                shown = spread(rollouts, self.config.shown_answers)
                run.journal.text("answers", run.done, "\n\n".join(_shown(each) for each in shown))
        return -told["reward"]

    def export(self, run: Run, base: Model, folder: Path) -> None:
        save_language_model(self.model.policy, self.tokenizer, base, folder)

    def result(self, run: Run) -> Result:
        counts = {
            "prompts": len(self.prompts),
            "too_long": self.too_long,
            "answers": run.done * self.config.batch_rows,
            "stopped_early": int(run.stopped is not None),
        }
        return Result(
            counts=counts,
            figures=self.aligning.figures(run),
            files=self.aligning.story(run, self.job.attempt),
        )


@dataclass(frozen=True)
class Scale:
    """Rewards in units of what the first step's answers had: a coefficient of the KL divergence then means
    the same whatever the reward's range (Huang et al., 2024, arXiv:2403.17031, on normalizing rewards)."""

    mean: float
    deviation: float

    @classmethod
    def found(cls, rollouts: Sequence[Rollout]) -> "Scale":
        """Where all rewards are the same, their unit is kept."""
        rewards = [each.reward for each in rollouts]
        return cls(fmean(rewards), pstdev(rewards) or 1.0)

    def of(self, reward: float) -> float:
        return (reward - self.mean) / self.deviation


class Training:
    """The steps of a run from where it is."""

    def __init__(self, objective: Ppo, run: Run) -> None:
        self.objective, self.run, self.config = objective, run, objective.config
        self.updates = Updates(
            model=objective.model,
            optimizer=run.optimizer,
            config=self.config,
            group=run.group,
            together=run.resolved.micro_batch_rows,
            autocast=run.autocast,
        )
        self.guards = Guards(self.config.guards, run.memory.setdefault("guards", {}))
        self.evaluate_every = max(1, run.steps // self.config.evaluations)
        self.told, self.saved = 0.0, time.monotonic()

    def go(self) -> None:
        run = self.run
        while True:
            began = time.monotonic()
            rollouts = self._rollouts()
            faults = self.guards.judge(vitals_of(told_of(rollouts)))
            if faults and run.group.is_first:
                run.journal.write("warning", message=f"ppo, step {run.done}: {'; '.join(faults)}")
            if self.guards.gives_up or (faults and run.done == run.steps):
                self._go_back("; ".join(faults))
                return
            if not faults:
                self._save_if_due()
            if run.done == run.steps:
                return
            drawn = time.monotonic()
            told = self._learn(rollouts)
            told |= {"drawing_seconds": drawn - began, "learning_seconds": time.monotonic() - drawn}
            self._tell(rollouts, told)

    def _rollouts(self) -> list[Rollout]:
        """The answers of this step, those behind the last step included: they judge the final weights."""
        run, objective = self.run, self.objective
        prompts = [objective.prompts[row] for row in run.rows_of_step(run.done)]
        rollouts = objective.draw(run, prompts, run.done)
        if "scale" in run.memory:
            return rollouts
        first = Scale.found(rollouts)
        run.memory["scale"] = [first.mean, first.deviation]
        critic = objective.model.critic
        if not critic.begins_as_reward:
            return rollouts
        critic.count_from(first.mean, first.deviation)
        return [replace(each, values=[first.of(value) for value in each.values]) for each in rollouts]

    def _save_if_due(self) -> None:
        """These weights' answers are good. The first are always saved: there is something to go back to.
        Raises PreemptedError."""
        run = self.run
        judge = 0 < run.done < run.steps and run.done % self.evaluate_every == 0
        if judge:
            run.evaluate()
        at_clock = time.monotonic() - self.saved >= run.checkpoint_seconds
        if run.group.from_first(at_clock) or judge or run.done in (0, run.steps):
            run.save()
            self.saved = time.monotonic()
        if run.done < run.steps:
            run.leave_if_told()

    def _learn(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """The updates of this step, and what is told of them."""
        run, config = self.run, self.config
        scale = Scale(*run.memory["scale"])
        scores = [
            scale.of(each.reward) - (0.0 if each.answer.ended else config.missing_end_penalty)
            for each in rollouts
        ]
        warmup = round(config.warmup_share * run.steps)
        rate = config.learning_rate * learning_rate_factor(run.done, run.steps, warmup, config.schedule, 0.5)
        told = self.updates.learn(rollouts, scores, run.done, rate)
        run.done += 1
        run.tokens += sum(len(each.ids) for each in rollouts)
        run.losses.append(told["loss"])
        return {**told, "learning_rate": rate, "score": fmean(scores)}

    def _go_back(self, reason: str) -> None:
        """To the last weights whose answers were good; they are what is exported."""
        run = self.run
        run.checkpoints.finish()
        stopped_at = run.done
        last = run.group.from_first(run.checkpoints.newest()[0] if run.group.is_first else None)
        assert last is not None, "the first step's weights are always saved"
        last.load(run.state())
        run.done, run.tokens = last.manifest.step, last.manifest.tokens
        if run.done == 0:  # else it is judged at the end, as every run is
            run.evaluate()
        run.stopped = (
            f"ppo ended at step {stopped_at} of {run.steps}: {reason}. The model is that of step {run.done}, "
            "the last that was saved with good answers"
        )
        if run.group.is_first:
            run.journal.write("warning", message=run.stopped)
            run.journal.write("stopped", step=stopped_at, exported_step=run.done, reason=reason)

    def _tell(self, rollouts: Sequence[Rollout], told: dict[str, float]) -> None:
        run, now = self.run, time.monotonic()
        if not run.group.is_first or (now - self.told < JOURNAL_SECONDS and run.done < run.steps):
            return
        self.told = now
        answers = told_of(rollouts)
        run.journal.progress(run.done, run.steps, "steps", reward=round(answers["reward"], 3))
        run.journal.metrics(run.done, **answers, **told, tokens=float(run.tokens))


def _shown(rollout: Rollout) -> str:
    answer = rollout.answer
    end = "" if answer.ended else " …"
    return f"**{answer.prompt[-1]['content']}** ({rollout.reward:.2f})\n{answer.text}{end}"
