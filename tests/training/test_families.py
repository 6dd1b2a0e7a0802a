"""Every family through the one loop: it learns, keeps documents apart, resumes to the bit, opens again."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from pipeline.compute_config import ComputeConfig
from pipeline.evaluation.insight.fill import fill
from pipeline.models.families import FAMILIES
from pipeline.models.objectives.batches import EVALUATION
from pipeline.models.recurrent import RecurrentForCausalLM
from pipeline.store import sha256_of
from pipeline.tokens.rows import NO_LABEL
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.forward import Tensors, to_device
from pipeline.training.group import Group
from pipeline.training.loop import Loop
from pipeline.training.resolve import FamilyLacksError, refuse_what_is_for_decoders
from pipeline.training.worker import Data, assemble, train
from tests.training.toys import toy_attempt, toy_config, toy_data

EVERY_STEP = ComputeConfig(compile=False, threads=1, checkpoint_seconds=0)
WAYS = [(family, ways) for family, each in FAMILIES.items() for ways in (each.positions or (None,))]


class KilledError(Exception):
    """Stands for a kill where the process itself has to live on."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"), row_tokens=64)


def config_of(family, **more):
    own = {"truncation": 16} if FAMILIES[family].is_recurrent else {}
    return toy_config(family=family, batch_tokens=512, precision="fp32", prompts=("3 + 4 =",), **own, **more)


def loop_of(folder, data, config) -> Loop:
    attempt = toy_attempt(folder)
    checkpoints = Checkpoints(attempt, "x")
    return assemble(config, EVERY_STEP, checkpoints, None, data, Group.alone(), attempt.journal("pretrain"))


@pytest.mark.parametrize(("family", "positions"), WAYS)
def test_a_family_learns(tmp_path, data, family, positions):
    loop = loop_of(tmp_path, data, config_of(family, positions=positions, steps=12))
    first = loop.evaluate()
    loop.run()
    assert loop.held_out_loss < first - 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_stopped_ends_with_the_same_bits(tmp_path, data, family):
    config = config_of(family, steps=4, evaluate_every=2)
    whole, torn = toy_attempt(tmp_path / "whole"), toy_attempt(tmp_path / "torn")
    train(config, EVERY_STEP, whole, data, Group.alone())
    original = Loop.train_step

    def train_step(loop):
        if loop.step == 2:
            raise KilledError
        return original(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "train_step", train_step)
        with pytest.raises(KilledError):
            train(config, EVERY_STEP, torn, data, Group.alone())
    again = toy_attempt(tmp_path / "torn", "second")
    train(config, EVERY_STEP, again, data, Group.alone())
    weights = [sha256_of(each.path("model/model.safetensors")) for each in (whole, again)]
    assert weights[0] == weights[1]


def row_of_two(loop: Loop) -> Tensors:
    """A held-out or training row of two documents or more, with the family's noise."""
    numbers = (np.array([number]) for number in range(len(loop.rows)))
    row = next(each for each in numbers if loop.rows.batch(each).documents_BT.max() >= 2)
    batch = loop.objective(loop.rows, row, EVALUATION)
    return to_device(batch, 1, loop.rows.pad, loop.group.device)


def told(part: Tensors) -> torch.Tensor:
    """The document of each label."""
    return part.more[1] if len(part.more) == 3 else part.documents_BT


def only(part: Tensors, document: int) -> Tensors:
    """The same with the labels of one document alone."""
    labels = torch.where(told(part) == document, part.labels_BT, NO_LABEL)
    more = part.more
    if len(more) == 2:
        more = (more[0], torch.where(part.documents_BT == document, more[1], NO_LABEL))
    return Tensors(part.tokens_BT, part.documents_BT, part.positions_BT, labels, more)


@pytest.mark.parametrize(("family", "positions"), WAYS)
def test_what_stands_in_one_document_does_not_reach_the_next(tmp_path, data, family, positions):
    loop = loop_of(tmp_path, data, config_of(family, positions=positions))
    part = row_of_two(loop)
    table = loop.model.get_input_embeddings().weight.detach()
    changed = torch.where(part.documents_BT == 0, (part.tokens_BT + 7) % 256, part.tokens_BT)
    other = Tensors(changed, part.documents_BT, part.positions_BT, part.labels_BT, part.more)
    with torch.no_grad():
        assert loop.loss_of(*only(part, 1).given) == loop.loss_of(*only(other, 1).given)
        assert loop.loss_of(*only(part, 0).given) != loop.loss_of(*only(other, 0).given)
    assert len(table) >= len(loop.tokenizer)


def alone(part: Tensors, document: int) -> dict[str, torch.Tensor]:
    """One document of a row, as transformers is given it."""
    here = part.documents_BT[0] == document
    found = {"input_ids": part.tokens_BT[:, here], "labels": part.labels_BT[:, told(part)[0] == document]}
    if len(part.more) == 2:
        segments, follows = (each[:, here] for each in part.more)
        found |= {"token_type_ids": segments, "next_sentence_label": 1 - follows[:, 0]}
    if len(part.more) == 3:
        tokens, documents, _ = part.more
        found |= {"decoder_input_ids": tokens[:, documents[0] == document]}
    return found


@pytest.mark.parametrize("family", ["bert", "roberta", "t5", "bart"])
@pytest.mark.parametrize("document", [0, 1])
def test_the_loss_of_a_packed_document_is_what_transformers_computes_of_it_alone(
    tmp_path, data, family, document
):
    """transformers' own loss is the mean over labels; that of a pair of sentences comes on top."""
    loop = loop_of(tmp_path, data, config_of(family))
    with torch.no_grad():  # biases and norms begin as zeros and ones, which would hide a mistake
        for weight in loop.model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    part = row_of_two(loop)
    given = alone(part, document)
    labels = int((given["labels"] != NO_LABEL).sum())
    if family == "bert" and int(part.more[1][0, (part.documents_BT[0] == document).nonzero()[0, 0]]) < 0:
        pytest.skip("a document too short for a pair")
    with torch.no_grad():
        ours = loop.loss_of(*only(part, document).given) / labels
        theirs = loop.model(**given).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_packed_document_is_read_as_by_torchs_own_layers(tmp_path, data, cell):
    loop = loop_of(tmp_path, data, config_of(cell, depth=2))
    part = row_of_two(loop)
    model = loop.model
    with torch.no_grad():
        logits = model(input_ids=part.tokens_BT, document_ids=part.documents_BT).logits
        for document in range(int(part.documents_BT.max()) + 1):
            here = part.documents_BT[0] == document
            hidden = model.embed_tokens(part.tokens_BT[:, here]) * 32**0.5
            for layer in model.layers:
                hidden = hidden + layer(hidden)[0]
            expected = model.lm_head(model.norm(hidden))
            torch.testing.assert_close(logits[:, here], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gradients_of_a_recurrent_model_end_where_truncation_says(tmp_path, data, cell):
    loop = loop_of(tmp_path, data, config_of(cell))
    tokens = torch.arange(40)[None]
    embedded = loop.model.embed_tokens(tokens).detach().requires_grad_()
    loop.model(inputs_embeds=embedded).logits[0, 36].sum().backward()
    norms = embedded.grad[0].norm(dim=-1)
    assert (norms[32:37] > 0).all()
    assert (norms[:32] == 0).all()
    assert (norms[37:] == 0).all()
    with torch.no_grad():
        whole = RecurrentForCausalLM(loop.model.config)
        whole.load_state_dict(loop.model.state_dict())
        whole.config.truncation = None
        torch.testing.assert_close(whole(tokens).logits, loop.model(tokens).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "opened_as"),
    [
        *((family, AutoModelForCausalLM) for family, each in FAMILIES.items() if each.continues_text),
        ("bert", AutoModelForPreTraining),
        ("bert", AutoModelForMaskedLM),
        ("roberta", AutoModelForMaskedLM),
        ("t5", AutoModelForSeq2SeqLM),
        ("bart", AutoModelForSeq2SeqLM),
    ],
)
def test_transformers_opens_what_was_saved(tmp_path, data, family, opened_as):
    attempt = toy_attempt(tmp_path)
    train(config_of(family, steps=2), EVERY_STEP, attempt, data, Group.alone())
    folder = attempt.path("model/.")
    model, told = opened_as.from_pretrained(folder, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["mismatched_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size
    with safe_open(folder / "model.safetensors", framework="pt") as saved:
        name = next(iter(saved.keys()))
        assert torch.equal(dict(model.named_parameters())[name], saved.get_tensor(name))


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_what_it_learned_fills_gaps(tmp_path, data, family):
    """The likeliest filling is likelier than by chance among all ids."""
    attempt = toy_attempt(tmp_path)
    train(config_of(family, steps=60, learning_rate=0.01), EVERY_STEP, attempt, data, Group.alone())
    found = fill(attempt.path("model/.").resolve(), "1 + 2 = 3. 4 +___5 = 9. 1 + 1 = 2.", top=5)
    assert max(found.values()) > 1 / 259


def test_sinusoids_are_those_of_the_paper_and_stay_as_they_are(tmp_path, data):
    loop = loop_of(tmp_path, data, config_of("gpt2", positions="sinusoidal", steps=2))
    before = loop.model.transformer.wpe.weight.clone()
    loop.run()
    assert torch.equal(before, loop.model.transformer.wpe.weight)
    place, pair = 5, 3
    angle = place / 10_000 ** (2 * pair / 32)
    expected = torch.tensor([np.sin(angle), np.cos(angle)]).float() * 0.02 * 2**0.5
    torch.testing.assert_close(before[place, 2 * pair : 2 * pair + 2], expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_without_places_a_token_does_not_know_where_the_others_stood(tmp_path, data, family):
    """Of one layer, what came before is a set: in another order it gives the last token the same scores."""
    loop = loop_of(tmp_path, data, config_of(family, positions="none"))
    tokens = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        for weight in loop.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
        one = loop.model(tokens).logits[0, -1]
        other = loop.model(tokens[:, [2, 0, 3, 1, 4]]).logits[0, -1]
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"family": "t5", "positions": "rotary"}, "knows places in a way of its own"),
        ({"family": "bert", "positions": "rotary"}, '"learned", "sinusoidal", "none"'),
        ({"family": "llama", "noise_share": 0.15}, "llama has no use for it"),
        ({"family": "roberta", "noise_span": 3}, "roberta has no use for it"),
        ({"family": "gpt2", "truncation": 8}, "gpt2 has no use for it"),
    ],
)
def test_settings_that_a_family_cannot_have_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        toy_config(**settings)


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [("bert", "shards", "all"), ("t5", "tensor_parallel", 2), ("lstm", "compile", True)],
)
def test_what_was_made_for_decoders_is_refused_to_others(tmp_path, data, family, setting, value):
    compute = EVERY_STEP.model_copy(update={setting: value})
    attempt = toy_attempt(tmp_path)
    with pytest.raises(FamilyLacksError, match=f"compute.{setting} is set, and pretrain.family is {family}"):
        train(config_of(family), compute, attempt, data, Group.alone())
    refuse_what_is_for_decoders(compute, "llama")
