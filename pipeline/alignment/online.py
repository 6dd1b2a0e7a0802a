"""Training by rewards for answers that the model draws itself, by TRL's trainers for GRPO and RLOO.

Each step draws its answers, is rewarded and updates once, so that nothing that was drawn lies between two
steps, and a checkpoint after any of them has all. What is drawn at a place of a step hangs on (seed, step,
place) alone, whatever the number of workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Any, cast

import datasets
import torch
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from pipeline.alignment.align import DRAWN_TOGETHER, GrpoConfig, OnlineJob, RlooConfig
from pipeline.alignment.aligning import Aligning, reference_model, weights_now
from pipeline.alignment.guards import Vitals, repetition
from pipeline.alignment.ppo_losses import entropies
from pipeline.alignment.prompts import Prompt, apart, prompts_of
from pipeline.alignment.rewards import Answer, on_all, open_reward
from pipeline.alignment.watched import answer_seed
from pipeline.models.generation import Sampled, context_tokens, sample, stop_ids
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.adapter import load_base
from pipeline.training.group import Group
from pipeline.training.trainer import train_by
from pipeline.training.tuning import Objective, Result, Run
from pipeline.training.tuning_config import TooFewRowsError


@dataclass(frozen=True)
class Fact:
    """What is told of an answer."""

    reward: float
    """As it was given."""
    tokens: int
    ended: bool
    repetition: float


@dataclass
class Step:
    """What was drawn for the step that is under way, by all workers."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    """What it was drawn by."""
    facts: list[Fact] = field(default_factory=list)
    """Of every answer."""

    def told(self) -> dict[str, float]:
        """The answers on average, by the names of the journal."""
        return {
            "reward": fmean(fact.reward for fact in self.facts),
            "reward_deviation": self.deviation,
            "answer_tokens": fmean(fact.tokens for fact in self.facts),
            "ended_share": fmean(fact.ended for fact in self.facts),
            "repetition": fmean(fact.repetition for fact in self.facts),
        }

    def equal_share(self, answers: int) -> float:
        """Of the prompts those whose answers, so many each, all got the same reward."""
        groups = [self.facts[first : first + answers] for first in range(0, len(self.facts), answers)]
        return fmean(len({fact.reward for fact in group}) == 1 for group in groups)

    @property
    def deviation(self) -> float:
        """The standard deviation of the rewards."""
        return pstdev(fact.reward for fact in self.facts)


@dataclass(frozen=True)
class Scores:
    """Of the places of answers, [B, A]."""

    log_probs: Tensor
    entropy: Tensor | None
    """Without a gradient."""


def positions(seen_BT: Tensor) -> Tensor:
    """The place of every token in its own text, [B, T]; 0 for the padding before it."""
    return (seen_BT.cumsum(1) - 1).clamp(min=0)


def score_answers(
    model: Any,
    temperature: float,
    labels_BT: Tensor,
    spread: bool,
    where: Mapping[str, Tensor],
    ids_BT: Tensor,
) -> Scores:
    """What TRL's fused head gives, for CPUs: it goes over prompts too, in tiles that save memory GPUs
    are short of. Answers begin in one column, from which on some label is none of NO_LABEL.
    """
    first = int((labels_BT != NO_LABEL).any(0).nonzero()[0, 0])
    kept = labels_BT.shape[1] - first
    logits_BAV = model(input_ids=ids_BT, use_cache=False, logits_to_keep=kept + 1, **where).logits[:, :-1]
    logprobs_BAV = torch.log_softmax(logits_BAV.float() / temperature, -1)
    answers_BA = labels_BT[:, first:]
    here_BA = answers_BA != NO_LABEL
    chosen_BA = logprobs_BAV.gather(-1, answers_BA.clamp(min=0)[..., None])[..., 0]
    entropy_BA = entropies(logprobs_BAV.detach()) * here_BA if spread else None
    return Scores(chosen_BA * here_BA, entropy_BA)


class OwnDraws:
    """Before one of TRL's online trainers: our draws, and the reference that is given.

    TRL would load the reference from where it takes the model to come from, and draw by `generate` with the
    random numbers of each process.
    """

    def __init__(self, *given: Any, online: "Online", training: Run, **named: Any) -> None:
        trainer, base = cast(Any, self), cast(Any, super())
        base.__init__(*given, **named)
        self.online, self.training = online, training
        trainer.beta, trainer.ref_model = online.config.kl_weight, online.reference
        add_fused_lm_head(online.reference, temperature=online.config.temperature)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *given: Any, **named: Any) -> Any:
        drawn = self.online.draw(self.training, prompt_ids)
        return (drawn, None) if isinstance(self, GRPOTrainer) else drawn

    def _get_per_token_logps_and_entropies(self, model: Any, *given: Any, **named: Any) -> Any:
        """As TRL's, with the positions that answers were drawn at: it pads prompts on the left and leaves
        positions to the model, which counts the padding."""
        trainer, base = cast(Any, self), cast(Any, super())
        on_cpu = trainer.accelerator.device.type == "cpu" and not named.get("compute_aux_loss")
        temperature = self.online.config.temperature if on_cpu else None
        spread = bool(named.get("compute_entropy"))

        def placed(attention_mask: Tensor, **inputs: Any) -> Any:
            where = {"attention_mask": attention_mask, "position_ids": positions(attention_mask)}
            if temperature is None:
                return model(**where, **inputs)
            return score_answers(model, temperature, inputs["labels"], spread, where, inputs["input_ids"])

        return base._get_per_token_logps_and_entropies(placed, *given, **named)


class Grpo(OwnDraws, GRPOTrainer):
    """TRL's trainer for GRPO."""


class Rloo(OwnDraws, RLOOTrainer):
    """TRL's trainer for RLOO."""


class Online(Objective):
    """Learns what is rewarded."""

    def __init__(self, job: OnlineJob, group: Group) -> None:
        self.job, self.config = job, job.config
        self.model, self.tokenizer = load_base(job, group)
        self.reference = reference_model(job, group)
        room = context_tokens(self.model) - job.config.answer_tokens
        prompts, self.too_long = prompts_of(self.tokenizer, job.conversations.rows("train"), room)
        self.prompts, watched = apart(prompts, job.config.evaluation_prompts)
        if not self.prompts or not watched:
            raise TooFewRowsError(
                f"{len(prompts)} prompts are there ({self.too_long} more leave no room for an answer of "
                f"{job.config.answer_tokens} tokens in the model's context), and "
                f"{job.config.evaluation_prompts} of them are to be kept apart: bring more, or lower "
                f"{job.config.section}.answer_tokens or {job.config.section}.evaluation_prompts"
            )
        self.reward = open_reward(job.reward, group.device, job.config.reward_seconds)
        self.aligning = Aligning(job.config, watched, self.reference, self.reward)
        self.lengths = [len(prompt.ids) for prompt in self.prompts]
        self.ends = set(stop_ids(self.tokenizer))
        self.step = Step()

    @property
    def longest(self) -> int:
        return max(self.lengths) + self.config.answer_tokens

    def train(self, run: Run) -> None:
        rows = datasets.Dataset.from_list(
            [{"prompt": self.prompts[row].messages, "row": row} for row in run.rows_left()]
        )
        config = self.config
        settings: dict[str, Any] = {
            "beta": 0.0,  # OwnDraws sets it, with the reference that goes with it
            "num_generations": config.answers,
            "max_completion_length": config.answer_tokens,
            "temperature": config.temperature,
            "num_iterations": 1,
            "shuffle_dataset": False,
            "remove_unused_columns": False,
            "disable_dropout": True,
        }
        given = {"reward_funcs": [self.score_of(run)], "online": self, "training": run}
        if isinstance(config, GrpoConfig):
            settings |= {"loss_type": "dapo", "scale_rewards": config.scale}
            train_by(Grpo, GRPOConfig, run, rows, settings, **given)
        elif isinstance(config, RlooConfig):
            settings |= {"normalize_advantages": config.normalize_advantages}
            train_by(Rloo, RLOOConfig, run, rows, settings, **given)

    def draw(self, run: Run, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Answers to this rank's part of the step's prompts, as ids."""
        self.step = Step(weights=weights_now(run.model))
        first = run.group.rank * len(prompts)
        seeds = [answer_seed(self.config.seed, run.done, first + place) for place in range(len(prompts))]
        with run.autocast():
            drawn = sample(
                run.model,
                prompts,
                max_tokens=self.config.answer_tokens,
                stop=self.ends,
                temperature=self.config.temperature,
                seeds=seeds,
                batch=DRAWN_TOGETHER,
            )
        return [each.ids for each in drawn]

    def score_of(self, run: Run) -> Any:
        """The reward function that TRL calls with what each rank drew."""

        def score(completion_ids: list[list[int]], row: list[int], **known: Any) -> list[float]:
            answers = [
                self._answer(self.prompts[at], ids) for at, ids in zip(row, completion_ids, strict=True)
            ]
            found = on_all(run.group, lambda: self._facts(answers, completion_ids))
            self.step.facts = [fact for part in found for fact in part]
            unit = run.memory.setdefault("reward_unit", self.step.deviation or 1.0)
            penalty = self.config.missing_end_penalty
            return [fact.reward / unit - penalty * (not fact.ended) for fact in found[run.group.rank]]

        return score

    def _facts(self, answers: Sequence[Answer], drawn: Sequence[list[int]]) -> list[Fact]:
        rewards = self.reward(answers)
        return [
            Fact(reward, answer.tokens, answer.ended, repetition(ids))
            for reward, answer, ids in zip(rewards, answers, drawn, strict=True)
        ]

    def _answer(self, prompt: Prompt, ids: list[int]) -> Answer:
        return Answer.to(prompt, Sampled(ids, [], ids[-1] in self.ends), self.tokenizer)

    def evaluate(self, run: Run) -> float:
        """Answers to prompts that were kept apart, and their reward."""
        judged = self.aligning.judge(run)
        if run.group.is_first:
            names = {f"held_out_{name}": value for name, value in judged.told().items()}
            run.journal.metrics(run.done, **names)
        return -(judged.reward or 0.0)

    def kept(self, run: Run) -> dict[str, Any]:
        return self.aligning.kept(run)

    def tokens_of(self, rows: Sequence[int], logs: Mapping[str, float]) -> int:
        """Tokens of the answers."""
        return sum(fact.tokens for fact in self.step.facts)

    def told(self, logs: Mapping[str, float]) -> dict[str, float]:
        return {
            **self.step.told(),
            "equal_rewards_share": self.step.equal_share(self.config.answers),
            "kl": self._kl(logs),
            "entropy": float(logs["entropy"]),
        }

    def stop(self, run: Run, logs: Mapping[str, float]) -> str | None:
        told = self.told(logs)
        vitals = Vitals(
            tokens=told["answer_tokens"],
            repetition=told["repetition"],
            kl=told["kl"],
            entropy=told["entropy"],
        )
        reason = self.aligning.guarded(run, vitals, self.step.weights)
        if reason is not None:
            self.aligning.go_back(run)
        return reason

    def _kl(self, logs: Mapping[str, float]) -> float:
        """In nats per answer; TRL tells it per token."""
        return float(logs["kl"]) * float(logs["completions/mean_length"])

    def result(self, run: Run) -> Result:
        return Result(
            counts={
                "prompts": len(self.prompts),
                "too_long": self.too_long,
                "answers": run.done * self.config.batch_sequences,
                "stopped_early": int(run.stopped is not None),
            },
            figures=self.aligning.figures(run),
            files=self.aligning.story(run, self.job.attempt),
        )
