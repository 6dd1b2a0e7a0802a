"""Over a base model in 4 bits, on a GPU."""

import json

import pytest
import torch

from pipeline.store import Attempt, Made
from pipeline.training.finetune import ChatModel, Job
from pipeline.training.group import Group
from pipeline.training.tuning import tune
from pipeline.training.tuning_config import RESULT, AdapterConfig, made_by
from tests.training.tuned import CONFIG, RESOLVED, inputs_in

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("keep", ["apart", "merged"])
def test_an_adapter_over_4_bits_learns_and_is_good_for_the_whole_base(
    small_vocabulary, compute, tmp_path, keep
):
    pytest.importorskip("bitsandbytes")
    given = inputs_in(tmp_path, small_vocabulary, compute)
    adapter = AdapterConfig(quantized=True, keep=keep)
    config = CONFIG.model_copy(update={"adapter": adapter, "precision": "bf16", "learning_rate": 2e-2})

    def build(attempt: Attempt) -> Made:
        job = Job(attempt, given.base, config, RESOLVED, given.conversations)
        tune(job, Group.alone("cuda"))
        told = json.loads(attempt.storage.read(f"{attempt.folder}/{RESULT}"))
        assert told["figures"]["held_out_loss"] < 3
        return made_by(attempt)

    inputs = {"base": given.base, "conversations": given.conversations}
    model, _ = given.store.make(ChatModel, config, inputs, build).load(torch.float32)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert model.dtype == torch.float32
