"""How likely a model finds text.

B pieces, T tokens, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

TOKENS_AT_ONCE = 4096


def cut(ids: Sequence[int], row_tokens: int, bos: int) -> list[list[int]]:
    """A text's ids in pieces of one model row each: BOS and at most `row_tokens` - 1 tokens."""
    step = row_tokens - 1
    return [[bos, *ids[start : start + step]] for start in range(0, len(ids), step)]


def bits_per_byte(nats: float, text_bytes: int) -> float:
    return nats / math.log(2) / text_bytes


def nats_of_pieces(model: PreTrainedModel, pieces: Sequence[Sequence[int]]) -> list[float]:
    """Minus the log probability of each piece's tokens after its first, added up, in nats."""
    return [sum(nats) for nats in token_nats(model, pieces)]


@torch.inference_mode()
def token_nats(
    model: PreTrainedModel, pieces: Sequence[Sequence[int]], tokens_at_once: int = TOKENS_AT_ONCE
) -> list[list[float]]:
    """For each piece, minus the log probability (nats) of every token but the first, given those before.

    Pieces of like length go through the model together, padded on the right, where causal
    attention does not look.
    """
    found: list[list[float]] = [[] for _ in pieces]
    for rows in _batches([len(piece) for piece in pieces], tokens_at_once):
        longest = len(pieces[rows[-1]])
        ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, row in enumerate(rows):
            ids_BT[at, : len(pieces[row])] = torch.tensor(pieces[row])
        ids_BT = ids_BT.to(model.device)
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        nats_BT = cross_entropy(logits_BTV.float().transpose(1, 2), ids_BT[:, 1:], reduction="none")
        for row, nats_T in zip(rows, nats_BT.double().tolist(), strict=True):
            found[row] = nats_T[: len(pieces[row]) - 1]
    return found


def _batches(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Indices by rising length, in batches of about `tokens_at_once` padded tokens; at least one in each."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda at: lengths[at]):
        if batch and (len(batch) + 1) * lengths[index] > tokens_at_once:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
