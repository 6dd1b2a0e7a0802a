"""The Ray task that samples: some prompts in, for each of them answers of the chat model out."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import torch

from pipeline.alignment.prompts import prompt_ids
from pipeline.alignment.sampled import Sampling, seed_of
from pipeline.corpus.tables import shard_name, write_table
from pipeline.models.generation import Sampled, context_tokens, sample, stop_ids
from pipeline.shards import ShardOutput

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ANSWER = pa.struct([("text", pa.string()), ("tokens", pa.int64()), ("ended", pa.bool_())])
ANSWERS = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("language", pa.string()),
        ("prompt", MESSAGES),
        ("answers", pa.list_(ANSWER)),
    ]
)
ROOM_TOKENS = 8
"""That a prompt must leave in the model's context, for an answer."""


def sample_prompts(sampling: Sampling, output: ShardOutput) -> Mapping[str, int]:
    """Answers to each prompt that leaves room for one. The draws hang on seed, prompt and number alone;
    one thread and the same batches each time keep them from rounding apart."""
    torch.set_num_threads(1)
    config = sampling.config
    model, tokenizer = sampling.chat.load(torch.float32)
    if torch.cuda.is_available():
        torch.nn.Module.to(model, "cuda")
    longest = context_tokens(model) - ROOM_TOKENS
    given = [(row, prompt_ids(tokenizer, row["prompt"])) for row in sampling.prompts]
    asked = [(row, ids) for row, ids in given if len(ids) <= longest]
    drawn = sample(
        model,
        [ids for _, ids in asked for _ in range(config.answers)],
        max_tokens=config.max_tokens,
        stop=stop_ids(tokenizer),
        temperature=config.temperature,
        seeds=[
            seed_of("answer", config.seed, row["id"], n) for row, _ in asked for n in range(config.answers)
        ],
        batch=max(1, len(asked) * config.answers),
    )
    rows = []
    for number, (row, _) in enumerate(asked):
        own = drawn[number * config.answers : (number + 1) * config.answers]
        rows.append({**row, "answers": [answer_of(each, tokenizer) for each in own]})
    write_table(
        output.path(f"train/{shard_name(sampling.number)}"), pa.Table.from_pylist(rows, schema=ANSWERS)
    )
    answers = [answer for row in rows for answer in row["answers"]]
    return {
        "prompts": len(rows),
        "too-long": len(given) - len(asked),
        "answers": len(answers),
        "ended": sum(answer["ended"] for answer in answers),
        "tokens": sum(answer["tokens"] for answer in answers),
    }


def answer_of(drawn: Sampled, tokenizer: Any) -> dict[str, Any]:
    """Text, tokens without the one that ended it, and whether one did."""
    said = drawn.ids[:-1] if drawn.ended else drawn.ids
    text = tokenizer.decode(said, skip_special_tokens=True)
    return {"text": text, "tokens": len(said), "ended": drawn.ended}
