"""Answers to prompts that a training never sees: how far the model has gone, and what it says now."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from transformers import PreTrainedModel

from pipeline.alignment.align import DRAWN_TOGETHER
from pipeline.alignment.guards import Vitals, repetition
from pipeline.alignment.prompts import Prompt
from pipeline.alignment.rewards import Answer, Reward, on_all
from pipeline.models.generation import Sampled, sample, stop_ids
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.chat_rows import ChatRow, answer_losses
from pipeline.training.tuning import Run, spread


@dataclass(frozen=True)
class Drawn:
    """An answer that the model drew, and what was found of it."""

    question: str
    text: str
    tokens: int
    ended: bool
    repetition: float
    logprob: float
    """Of the whole answer, in nats, by the model; what it ended with is part of it."""
    reference_logprob: float
    places: int
    """At which something was drawn: `tokens`, and the end."""
    reward: float | None = None


@dataclass(frozen=True)
class Judgement:
    """What the answers of one evaluation are on average."""

    answer_tokens: float
    ended_share: float
    repetition: float
    kl: float
    """From the reference, in nats per answer, estimated by the answers themselves."""
    entropy: float
    """Of the next token, in nats, estimated likewise."""
    reward: float | None

    @property
    def vitals(self) -> Vitals:
        return Vitals(tokens=self.answer_tokens, repetition=self.repetition, kl=self.kl, entropy=self.entropy)

    def told(self) -> dict[str, float]:
        """All that was measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def draw(
    run: Run, prompts: Sequence[Prompt], reference: PreTrainedModel, most_tokens: int, reward: Reward | None
) -> list[Drawn]:
    """An answer to each prompt, on every rank the same list; each rank draws its share.

    Answers are drawn from the model as it is (temperature 1), at every evaluation with the same random
    numbers. Raises what the reward raises, on all ranks.
    """
    places = np.array_split(np.arange(len(prompts)), run.group.size)[run.group.rank].tolist()
    own = [prompts[place] for place in places]
    seeds = [answer_seed(run.config.seed, "evaluation", place) for place in places]
    found = on_all(run.group, lambda: _drawn(run, own, seeds, reference, most_tokens, reward))
    return [answer for part in found for answer in part]


def _drawn(
    run: Run,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    reference: PreTrainedModel,
    most_tokens: int,
    reward: Reward | None,
) -> list[Drawn]:
    with run.autocast():
        samples = sample(
            run.model,
            [prompt.ids for prompt in prompts],
            max_tokens=most_tokens,
            stop=stop_ids(run.tokenizer),
            temperature=1.0,
            seeds=seeds,
            batch=DRAWN_TOGETHER,
        )
    rows = [answer_row(prompt, each) for prompt, each in zip(prompts, samples, strict=True)]
    losses = answer_losses(reference, rows, run.autocast, int(run.tokenizer.pad_token_id))
    answers = [Answer.to(prompt, each, run.tokenizer) for prompt, each in zip(prompts, samples, strict=True)]
    rewards: Sequence[float | None] = reward(answers) if reward and answers else [None] * len(answers)
    return [
        Drawn(
            question=prompt.question,
            text=answer.text,
            tokens=answer.tokens,
            ended=answer.ended,
            repetition=repetition(each.ids),
            logprob=sum(each.logprobs),
            reference_logprob=-loss,
            places=len(each.ids),
            reward=value,
        )
        for prompt, each, answer, (loss, _), value in zip(
            prompts, samples, answers, losses, rewards, strict=True
        )
    ]


def answer_row(prompt: Prompt, answer: Sampled) -> ChatRow:
    """Prompt and answer as one row, with labels on the answer alone."""
    return ChatRow(prompt.ids + answer.ids, [NO_LABEL] * len(prompt.ids) + answer.ids)


def judgement(answers: Sequence[Drawn]) -> Judgement:
    """The answers on average."""
    rewards = [each.reward for each in answers if each.reward is not None]
    logprob, places = sum(each.logprob for each in answers), sum(each.places for each in answers)
    return Judgement(
        answer_tokens=_mean([each.tokens for each in answers]),
        ended_share=_mean([each.ended for each in answers]),
        repetition=_mean([each.repetition for each in answers]),
        kl=_mean([each.logprob - each.reference_logprob for each in answers]),
        entropy=-logprob / places,
        reward=_mean(rewards) if rewards else None,
    )


def shown(answers: Sequence[Drawn], count: int) -> str:
    """So many of them, evenly spread, as Markdown."""
    parts = []
    for answer in spread(answers, count):
        note = "" if answer.reward is None else f" *(reward {answer.reward:.2f})*"
        parts.append(f"**{answer.question}**{note}\n{answer.text}{'' if answer.ended else ' …'}")
    return "\n\n".join(parts)


def answer_seed(seed: int, step: int | str, place: int) -> int:
    """What the answer at this place of a step is drawn with, whoever draws it."""
    digest = hashlib.sha256(f"answer {seed} {step} {place}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
