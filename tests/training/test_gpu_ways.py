"""The ways to compute that are for GPUs, as far as a CPU can show that they compute the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.compute_config import ComputeConfig
from pipeline.training import fp8
from pipeline.training.forward import (
    Tensors,
    dense_attention,
    document_blocks,
    document_mask,
    host_tensors,
    logits,
    loss_function,
)
from pipeline.training.group import Group
from pipeline.training.resolve import DeviceLacksError, Resolved, refuse_what_lacks, resolve
from pipeline.training.worker import Data, train
from tests.training.toys import VOCABULARY_SIZE, toy_attempt, toy_config, toy_data

CPU = torch.device("cpu")
CHOICE = {
    "workers": 1,
    "batch_rows": 8,
    "row_tokens": 32,
    "vocabulary_size": 300,
    "flops": 1e18,
    "products": "bf16",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def packed(data: Data) -> Tensors:
    """Four rows of several documents and padding."""
    rows = [n for n in range(len(data.train)) if data.train.batch(np.array([n])).documents_BT.max() >= 1]
    return host_tensors(data.train.batch(np.array(rows[:3])), 4, data.train.pad)


def small_model(attention: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
        )
    )
    model.set_attn_implementation(attention)
    return model


def scores(model: LlamaForCausalLM, part: Tensors, attention: str) -> torch.Tensor:
    with torch.no_grad():
        return logits(model, part.tokens_BT, part.documents_BT, part.positions_BT, attention)


def test_blocks_of_attention_stand_for_the_same_mask(packed):
    blocks = document_blocks(packed.documents_BT)
    assert blocks.shape == (4, 1, 32, 32)
    B, T = packed.documents_BT.shape
    row, token, other = torch.meshgrid(*(torch.arange(n) for n in (B, T, T)), indexing="ij")
    allowed = blocks.mask_mod(row, torch.zeros_like(row), token, other)
    assert torch.equal(allowed, document_mask(packed.documents_BT)[:, 0])


@pytest.mark.everything
def test_flex_attention_gives_the_logits_of_the_dense_mask(packed):
    dense = scores(small_model("sdpa"), packed, "dense")
    flex = scores(small_model("flex_attention"), packed, "flex")
    torch.testing.assert_close(flex, dense, atol=1e-5, rtol=1e-5)


def test_what_stands_in_one_document_does_not_reach_the_next_through_blocks(packed):
    model = small_model("flex_attention")
    changed_BT = torch.where(packed.documents_BT == 0, (packed.tokens_BT + 7) % 256, packed.tokens_BT)
    before = scores(model, packed, "flex")
    after = scores(model, Tensors(**{**vars(packed), "tokens_BT": changed_BT}), "flex")
    others = packed.documents_BT > 0
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[~others], after[~others])


def test_a_model_is_scored_by_the_dense_mask_for_a_while(packed):
    model = small_model("flex_attention")
    with dense_attention(model):
        dense = scores(model, packed, "dense")
    assert model.config._attn_implementation == "flex_attention"
    assert torch.equal(dense, scores(small_model("sdpa"), packed, "dense"))


def test_compiled_code_stays_valid_after_a_while_with_the_dense_mask(packed):
    from torch._dynamo.utils import counters

    model = small_model("sdpa")
    given = packed.given
    eager = loss_function(model, "bf16", CPU)
    compiled = torch.compile(eager, dynamic=False, backend="eager")
    compiled(*given).backward()
    before = counters["stats"]["unique_graphs"]
    model.train(False)
    with dense_attention(model), torch.no_grad():
        eager(*(tensor[:2] for tensor in given))
    model.train()
    compiled(*given).backward()
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.parametrize(
    ("asked", "named"), [({"attention": "flex"}, "attention"), ({"fused_loss": True}, "fused_loss")]
)
def test_what_a_cpu_cannot_do_is_refused_by_the_name_of_its_setting(asked, named):
    with pytest.raises(DeviceLacksError, match=f"leave compute.{named} out"):
        refuse_what_lacks(ComputeConfig(**asked), "bf16", "cpu")
    refuse_what_lacks(ComputeConfig(), "bf16", "cpu")


def test_a_gpu_gets_blocks_and_what_a_checkpoint_kept_stays():
    gpu = resolve(ComputeConfig(), None, device="cuda", **CHOICE)
    assert (gpu.attention, gpu.compile) == ("flex", True)
    kept = gpu.as_dict() | {"attention": "dense", "fused_loss": False}
    again = resolve(ComputeConfig(), kept, device="cuda", **CHOICE)
    assert (again.attention, again.fused_loss) == ("dense", False)
    assert resolve(ComputeConfig(), kept, device="cpu", **CHOICE).attention == "dense"
    old = {"device": "cuda", "workers": 1, "threads": 1, "micro_batch_rows": 2, "compile": True}
    assert Resolved(**old).attention == "dense"


def test_fp8_is_refused_without_a_gpu_that_has_it(tmp_path, data):
    with pytest.raises(DeviceLacksError, match=r"pretrain.precision is fp8, but .* try bf16"):
        train(
            toy_config(precision="fp8"),
            ComputeConfig(compile=False),
            toy_attempt(tmp_path),
            data,
            Group.alone(),
        )


def test_fp8_takes_the_layers_matrices_keeps_their_names_and_stays_near(packed):
    pytest.importorskip("torchao")
    model, reference = small_model("sdpa"), small_model("sdpa")
    names = list(dict(model.named_parameters()))
    converted = fp8.convert(model, emulated=True)
    assert len(converted) == 2 * 7
    assert not any("lm_head" in name for name in converted)
    assert list(dict(model.named_parameters())) == names
    losses = []
    for each in (model, reference):
        loss = loss_function(each, "bf16", CPU)(*packed.given)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    name = "model.layers.0.mlp.down_proj.weight"
    ours, theirs = (each.get_parameter(name).grad.flatten() for each in (model, reference))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.98


INTERPRETED = """
import torch
from tests.training.test_gpu_ways import small_model, CPU
from pipeline.training import fused_loss
from pipeline.training.forward import Tensors, loss_function

torch.manual_seed(1)
tokens = torch.randint(0, 256, (4, 32))
documents = (torch.arange(32) // 12).expand(4, 32)
labels = torch.where(torch.rand(4, 32) < 0.2, -100, tokens.roll(-1, 1))
given = (tokens, documents, torch.arange(32).expand(4, 32) % 12, labels)
plain, fused = small_model("sdpa"), small_model("sdpa")
fused_loss.prepare(fused, torch.float32)
losses = [
    loss_function(plain, "fp32", CPU)(*given),
    torch.compile(loss_function(fused, "fp32", CPU, fused=True), backend="eager")(*given),
]
for loss in losses:
    loss.backward()
torch.testing.assert_close(losses[1], losses[0], atol=1e-3, rtol=1e-5)
for (name, weight), other in zip(plain.named_parameters(), fused.parameters()):
    torch.testing.assert_close(other.grad, weight.grad, atol=1e-4, rtol=1e-3, msg=name)
ids = tokens[:1, :4]
assert fused.generate(ids, max_new_tokens=4).tolist() == plain.generate(ids, max_new_tokens=4).tolist()
print("same")
"""


@pytest.mark.slow
def test_the_fused_loss_has_the_gradients_of_the_plain_one():
    """By Triton's interpreter, which runs the GPU's kernels on a CPU."""
    pytest.importorskip("liger_kernel")
    found = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert found.stdout.endswith("same\n"), found.stderr[-2000:]
