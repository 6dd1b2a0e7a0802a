"""Turning a model into text: streamed sampling of one text, and answers to many prompts at once.

B texts, T tokens, V vocabulary.
"""

import codecs
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.tokens.markers import TURN_END, markers_of, neutralise
from pipeline.tokens.pieces import bytes_of_pieces


def piece_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes]:
    """The UTF-8 bytes that each id stands for; empty for markers. Index: token id.

    The bytes of a text's ids, joined, are the bytes of the text as the tokenizer decodes it, but for a
    space that some tokenizers of others put before each text.
    """
    added = tokenizer.added_tokens_decoder
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return bytes_of_pieces(
        tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))),
        {index: token.content for index, token in added.items()},
        {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)},
        getattr(backend, "decoder", None),
    )


def context_tokens(model: PreTrainedModel) -> int:
    """How many tokens the model can see at once, in tokens: its longest row in training."""
    return int(getattr(model.config, "max_position_embeddings", 1 << 30))


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """BOS and the ids of `text`, its own markers neutralised: as every document in training begins."""
    harmless = neutralise(text, markers_of(tokenizer))
    ids = [int(index) for index in tokenizer.encode(harmless, add_special_tokens=False)]
    return ids if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id), *ids]


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends an answer: `<|end|>`, and the end of a document for good measure."""
    ids: list[Any] = [tokenizer.convert_tokens_to_ids(TURN_END), tokenizer.eos_token_id]
    return [int(index) for index in ids]


def document_end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends a continuation."""
    return stop_ids(tokenizer)[1:]


class TextStream:
    """Tokens in, text out, as soon as a character's last byte is there."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The characters that this token completes; may be empty."""
        return self.decoder.decode(self.pieces[token])

    def end(self) -> str:
        """A replacement character if the text stops in the middle of one."""
        return self.decoder.decode(b"", final=True)


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    *,
    max_tokens: int,
    stop: Collection[int],
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    pieces: Sequence[bytes] | None = None,
) -> Iterator[str]:
    """The continuation of `prompt` (ids), piece by piece, in complete characters.

    Joined, the pieces are the tokenizer's decoding of all new tokens. Ends before a token in
    `stop`, after `max_tokens`, or where the model's context is full. `pieces` saves making
    `piece_bytes(tokenizer)` again.
    """
    text = TextStream(piece_bytes(tokenizer) if pieces is None else pieces)
    sampler = Sampler(temperature, top_k, top_p, seed)
    for token in tokens(model, prompt, sampler, max_tokens=max_tokens, stop=stop):
        if characters := text.feed(token):
            yield characters
    if rest := text.end():
        yield rest


class Sampler:
    """Chooses the next token: the likeliest at temperature 0, else a draw that its seed fixes.

    `top_k` keeps the k likeliest; `top_p` the fewest that together reach that probability
    (Holtzman et al., 2019, arXiv:1904.09751).
    """

    def __init__(
        self, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0
    ) -> None:
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, logits_V: Tensor) -> int:
        if self.temperature <= 0:
            return int(logits_V.argmax())
        return int(torch.multinomial(self.probabilities(logits_V), 1, generator=self.random))

    def probabilities(self, logits_V: Tensor) -> Tensor:
        """The distribution that is drawn from, on the CPU in float32."""
        logits_V = logits_V.float().cpu() / self.temperature
        if self.top_k is not None and self.top_k < logits_V.numel():
            least = logits_V.topk(self.top_k).values[-1]
            logits_V = logits_V.masked_fill(logits_V < least, -torch.inf)
        probabilities_V = logits_V.softmax(-1)
        if self.top_p is not None:
            sorted_V, order_V = probabilities_V.sort(descending=True)
            beyond_V = sorted_V.cumsum(0) - sorted_V >= self.top_p
            probabilities_V[order_V[beyond_V]] = 0
        return probabilities_V


def tokens(
    model: PreTrainedModel,
    prompt: Sequence[int],
    sampler: Sampler,
    *,
    max_tokens: int,
    stop: Collection[int],
) -> Iterator[int]:
    """New tokens after `prompt`, one by one; a token in `stop` ends them and is not given.

    No gradient is made, and the caller's own gradient mode is untouched between two tokens.
    """
    ids, cache = list(prompt), DynamicCache(config=model.config)
    for _ in range(min(max_tokens, context_tokens(model) - len(prompt))):
        with torch.inference_mode():
            logits_1TV = model(
                input_ids=torch.tensor([ids], device=model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits
            token = sampler(logits_1TV[0, -1])
        if token in stop:
            return
        yield token
        ids = [token]


def answer_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    stop: Collection[int],
    batch: int = 32,
) -> list[list[int]]:
    """The likeliest continuation of each prompt, up to and including its first token in `stop`.

    Equal to one prompt at a time up to rounding.
    """
    seeds = [0] * len(prompts)
    drawn = sample(
        model, prompts, max_tokens=max_tokens, stop=stop, temperature=0.0, seeds=seeds, batch=batch
    )
    return [each.ids for each in drawn]


@dataclass(frozen=True)
class Sampled:
    """A continuation that was drawn."""

    ids: list[int]
    """New tokens, up to and including the one that ended them."""
    logprobs: list[float]
    """Of each of them its log-probability in nats, in the distribution that it was drawn from; at
    temperature 0 in the model's own."""
    ended: bool
    """Whether a token in `stop` ended it, rather than `max_tokens` or the model's context."""


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    stop: Collection[int],
    temperature: float,
    seeds: Sequence[int],
    batch: int = 32,
) -> list[Sampled]:
    """A continuation of each prompt (ids), drawn at `temperature`; at 0 the likeliest token each time.

    What is drawn for a text hangs on the model, its prompt and its own seed (0 or more), not on the
    texts that it is batched with, up to rounding. Prompts of like length go together, padded on the
    left; texts that have ended leave the batch. Raises ValueError unless there is a seed for each prompt.
    """
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds; give one for each")
    context = context_tokens(model)
    texts = [
        _Text(list(prompt), min(max_tokens, context - len(prompt)), seed)
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    order = sorted((text for text in texts if text.most > 0), key=lambda text: len(text.prompt))
    for start in range(0, len(order), batch):
        _draw_together(model, order[start : start + batch], temperature, set(stop))
    return [Sampled(text.ids, text.logprobs, text.ended) for text in texts]


class _Text:
    """One of the texts that are drawn together, as far as it is."""

    def __init__(self, prompt: list[int], most: int, seed: int) -> None:
        self.prompt, self.most = prompt, most
        self.chances = np.random.default_rng(seed).random(max(0, most))
        """Uniform in [0, 1): which token is drawn at each place."""
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.ended = False

    def add(self, token: int, logprob: float, stop: set[int]) -> bool:
        """Take the next token; False when it was the last."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.ended = token in stop
        return not self.ended and len(self.ids) < self.most


def _draw_together(model: PreTrainedModel, texts: list[_Text], temperature: float, stop: set[int]) -> None:
    ids_BT, seen_BT = _padded_on_the_left([text.prompt for text in texts], model.device)
    positions_BT = (seen_BT.cumsum(1) - 1).clamp(min=0)
    cache: Any = DynamicCache(config=model.config)
    while True:
        logits_BTV = model(
            input_ids=ids_BT,
            attention_mask=seen_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        next_B, logprobs_B = _choose(logits_BTV[:, -1], temperature, texts)
        added = zip(texts, next_B.tolist(), logprobs_B.tolist(), strict=True)
        going = [at for at, (text, token, logprob) in enumerate(added) if text.add(token, logprob, stop)]
        if not going:
            return
        if len(going) < len(texts):
            going_B = torch.tensor(going, device=model.device)
            texts = [texts[at] for at in going]
            cache.batch_select_indices(going_B)
            next_B, seen_BT, positions_BT = next_B[going_B], seen_BT[going_B], positions_BT[going_B]
        ids_BT, positions_BT = next_B[:, None], positions_BT[:, -1:] + 1
        seen_BT = torch.cat([seen_BT, torch.ones_like(ids_BT)], 1)


def _padded_on_the_left(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids [B, T], and 1 where there is a token, 0 where there is padding."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(seen, device=device)


def _choose(logits_BV: Tensor, temperature: float, texts: list[_Text]) -> tuple[Tensor, Tensor]:
    """The next token of each text and its log-probability, [B] each.

    Drawn by the inverse of the cumulative distribution at the text's own chance.
    """
    if temperature <= 0:
        logprobs_BV, next_B = logits_BV.float().log_softmax(-1), logits_BV.argmax(-1)
    else:
        logprobs_BV = (logits_BV.float() / temperature).log_softmax(-1)
        chances = [[text.chances[len(text.ids)]] for text in texts]
        chances_B1 = torch.tensor(chances, dtype=torch.float64, device=logits_BV.device)
        up_to_BV = logprobs_BV.double().exp().cumsum(-1)
        next_B = torch.searchsorted(up_to_BV, chances_B1 * up_to_BV[:, -1:], right=True)[:, 0]
    return next_B, logprobs_BV.gather(-1, next_B[:, None])[:, 0]
