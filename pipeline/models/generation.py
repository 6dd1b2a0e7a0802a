"""Turning a model into text: streamed sampling of one text, and greedy answers to many prompts at once.

B texts, T tokens, V vocabulary.
"""

import codecs
from collections.abc import Collection, Iterator, Sequence
from typing import Any

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


@torch.inference_mode()
def answer_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    stop: Collection[int],
    batch: int = 32,
) -> list[list[int]]:
    """The likeliest continuation of each prompt, up to and including its first token in `stop`.

    Prompts are padded on the left, those of like length together; texts that have ended leave
    the batch. Equal to one prompt at a time up to rounding.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), batch):
        _answer_batch(model, prompts, order[start : start + batch], answers, max_tokens, set(stop))
    return answers


def _answer_batch(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    rows: list[int],
    answers: list[list[int]],
    max_tokens: int,
    stop: set[int],
) -> None:
    longest = max(len(prompts[row]) for row in rows)
    ids_BT = torch.zeros(len(rows), longest, dtype=torch.long, device=model.device)
    seen_BT = torch.zeros_like(ids_BT)
    for at, row in enumerate(rows):
        ids_BT[at, longest - len(prompts[row]) :] = torch.tensor(prompts[row], device=model.device)
        seen_BT[at, longest - len(prompts[row]) :] = 1
    positions_BT = (seen_BT.cumsum(1) - 1).clamp(min=0)
    cache: Any = DynamicCache(config=model.config)
    for _ in range(min(max_tokens, context_tokens(model) - longest)):
        logits_BTV = model(
            input_ids=ids_BT,
            attention_mask=seen_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        next_B = logits_BTV[:, -1].argmax(-1)
        for row, token in zip(rows, next_B.tolist(), strict=True):
            answers[row].append(token)
        going = [at for at, row in enumerate(rows) if answers[row][-1] not in stop]
        if not going:
            return
        if len(going) < len(rows):
            going_B = torch.tensor(going, device=model.device)
            rows = [rows[at] for at in going]
            cache.batch_select_indices(going_B)
            next_B, seen_BT, positions_BT = next_B[going_B], seen_BT[going_B], positions_BT[going_B]
        ids_BT, positions_BT = next_B[:, None], positions_BT[:, -1:] + 1
        seen_BT = torch.cat([seen_BT, torch.ones_like(ids_BT)], 1)
