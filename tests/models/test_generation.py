from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models.generation import (
    Sampler,
    answer_greedily,
    context_tokens,
    encode,
    piece_bytes,
    sample,
    stream,
    tokens,
)
from pipeline.tokens.markers import neutralise
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import random_model
from tests.tokens.texts import PORTUGUESE

AWKWARD = [
    "",
    "plain",
    "  two  spaces\n\n\tand a tab",
    "漢字 \U0001f600 é",
    PORTUGUESE,
    "<s>not a marker</s>",
]


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return random_model(1024)


@pytest.fixture(scope="module")
def tokenizer(small_vocabulary: Vocabulary) -> PreTrainedTokenizerBase:
    return small_vocabulary.tokenizer()


@pytest.mark.parametrize("text", AWKWARD)
def test_the_bytes_of_a_texts_pieces_are_the_text(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    pieces = piece_bytes(tokenizer)
    ids = encode(tokenizer, text)
    assert ids[0] == tokenizer.bos_token_id
    assert b"".join(pieces[token] for token in ids).decode() == neutralise(text)


def test_the_stream_joined_is_the_decoding_of_all_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    prompt = encode(tokenizer, "The")
    for seed in range(5):
        ids = list(tokens(model, prompt, Sampler(1.0, seed=seed), max_tokens=40, stop=()))
        streamed = list(stream(model, tokenizer, prompt, temperature=1.0, seed=seed, max_tokens=40, stop=()))
        spelt = b"".join(piece_bytes(tokenizer)[token] for token in ids)
        assert "".join(streamed) == spelt.decode("utf-8", "replace")
        assert all(streamed)


class Scripted(torch.nn.Module):
    """Says the given tokens, whatever it is asked."""

    def __init__(self, script: list[int], like: PreTrainedModel) -> None:
        super().__init__()
        self.script, self.config, self.device = list(script), like.config, torch.device("cpu")

    def forward(self, input_ids: torch.Tensor, **_: object) -> object:
        logits = torch.zeros(1, 1, 1024)
        logits[0, 0, self.script.pop(0)] = 1
        return type("Output", (), {"logits": logits})


def test_a_character_of_several_bytes_comes_out_whole(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    script = [*encode(tokenizer, "漢字 \U0001f600")[1:], tokenizer.eos_token_id]
    assert len(script) > 8
    said = list(
        stream(
            Scripted(script, model),  # type: ignore[arg-type]
            tokenizer,
            [1],
            temperature=0,
            max_tokens=40,
            stop=(tokenizer.eos_token_id,),
        )
    )
    assert "".join(said) == "漢字 \U0001f600"
    assert len(said) == 4


def test_generation_with_a_cache_chooses_what_the_whole_text_gives(model: PreTrainedModel) -> None:
    prompt = [1, 40, 90]
    found = list(tokens(model, prompt, Sampler(), max_tokens=12, stop=()))
    for _ in range(12):
        prompt.append(int(model(input_ids=torch.tensor([prompt])).logits[0, -1].argmax()))
    assert found == prompt[3:]


def test_batched_answers_equal_those_of_one_prompt_at_a_time(model: PreTrainedModel) -> None:
    prompts = [[1, *range(10, 10 + length)] for length in (3, 9, 1, 5, 9, 2)]
    alone = [list(tokens(model, prompt, Sampler(), max_tokens=20, stop=())) for prompt in prompts]
    stop = {alone[0][4], alone[3][7]}
    expected = []
    for answer in alone:
        end = next((at for at, token in enumerate(answer) if token in stop), len(answer) - 1)
        expected.append(answer[: end + 1])
    assert answer_greedily(model, prompts, max_tokens=20, stop=stop, batch=4) == expected


PROMPTS = [[1, *range(10, 10 + length)] for length in (3, 9, 1, 5, 9, 2)]


def test_what_is_drawn_for_a_text_hangs_on_its_seed_and_not_on_its_batch(model: PreTrainedModel) -> None:
    options: dict[str, Any] = {"max_tokens": 20, "stop": {5, 17, 200}, "temperature": 1.0}
    seeds = [7, 8, 9, 10, 8, 12]
    together = sample(model, PROMPTS, seeds=seeds, **options)
    assert together[1].ids == together[4].ids  # the same prompt and seed
    for chosen in ([0], [5, 1], [4, 3, 2]):
        prompts = [PROMPTS[at] for at in chosen]
        apart = sample(model, prompts, seeds=[seeds[at] for at in chosen], batch=2, **options)
        assert [each.ids for each in apart] == [together[at].ids for at in chosen]
        for one, at in zip(apart, chosen, strict=True):
            assert one.logprobs == pytest.approx(together[at].logprobs, abs=1e-4)
    other = sample(model, PROMPTS, seeds=[seed + 100 for seed in seeds], **options)
    assert all(one.ids != another.ids for one, another in zip(together, other, strict=True))
    with pytest.raises(ValueError, match="6 prompts, but 1 seeds"):
        sample(model, PROMPTS, seeds=[1], **options)


def test_log_probabilities_are_those_of_the_whole_text(model: PreTrainedModel) -> None:
    drawn = sample(model, PROMPTS, max_tokens=12, stop={5, 17}, temperature=0.7, seeds=range(6))
    for prompt, text in zip(PROMPTS, drawn, strict=True):
        logits_TV = model(input_ids=torch.tensor([prompt + text.ids])).logits[0, len(prompt) - 1 : -1]
        logprobs_TV = (logits_TV / 0.7).log_softmax(-1)
        expected = logprobs_TV.gather(-1, torch.tensor(text.ids)[:, None])[:, 0].tolist()
        assert text.logprobs == pytest.approx(expected, abs=1e-4)
        assert text.ended == (text.ids[-1] in (5, 17))
        assert text.ended or len(text.ids) == 12


def test_tokens_are_drawn_as_often_as_they_are_likely(model: PreTrainedModel) -> None:
    count = 4000
    drawn = sample(
        model, [[1, 40]] * count, max_tokens=1, stop=(), temperature=0.5, seeds=range(count), batch=count
    )
    probabilities_V = (model(input_ids=torch.tensor([[1, 40]])).logits[0, -1] / 0.5).softmax(-1)
    found_V = torch.bincount(torch.tensor([text.ids[0] for text in drawn]), minlength=1024) / count
    deviation_V = (probabilities_V * (1 - probabilities_V) / count).sqrt()
    assert bool(((found_V - probabilities_V).abs() < 5 * deviation_V + 1e-3).all())


def test_generation_ends_where_the_context_is_full(model: PreTrainedModel) -> None:
    prompt = [1] * (context_tokens(model) - 3)
    assert len(list(tokens(model, prompt, Sampler(), max_tokens=50, stop=()))) == 3
    assert len(answer_greedily(model, [prompt], max_tokens=50, stop=())[0]) == 3
    beside = answer_greedily(model, [prompt, [1, 2], [*prompt, 1, 1, 1]], max_tokens=50, stop=())
    assert [len(ids) for ids in beside] == [3, 50, 0]


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    logits = torch.log(torch.tensor([0.1, 0.4, 0.3, 0.2]))
    assert Sampler(1.0, top_k=2).probabilities(logits).nonzero().flatten().tolist() == [1, 2]
    assert Sampler(1.0, top_p=0.65).probabilities(logits).nonzero().flatten().tolist() == [1, 2]
    assert Sampler(1.0, top_p=0.0001).probabilities(logits).nonzero().flatten().tolist() == [1]
    assert Sampler(0.0)(logits) == 1


def test_the_seed_fixes_the_draw(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    def draw(seed: int) -> str:
        return "".join(stream(model, tokenizer, [1], temperature=1.0, seed=seed, max_tokens=20, stop=()))

    assert draw(3) == draw(3) != draw(4)
