"""Adapters in training: put beside a model's matrices, over a base that may be held in 4 bits, and merged."""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.models.adapters import base_of, put_on, write_adapter
from pipeline.models.model import load_tokenizer
from pipeline.training.group import Group
from pipeline.training.tuning_config import AdapterConfig, QuantizationError, TuningJob


def load_base(job: TuningJob, group: Group) -> tuple[PreTrainedModel, Tokenizer]:
    """The base model and its tokenizer: in fp32 on the CPU, or in 4 bits on this worker's GPU.

    Raises QuantizationError.
    """
    if job.config.adapter is None or not job.config.adapter.quantized:
        return job.base.load(torch.float32)
    refuse_4_bits_where_they_lack(job.config.section, group.device)
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    folder = job.base.model_folder()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        device_map={"": group.device},
        quantization_config=BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    )
    return model, load_tokenizer(folder)


def refuse_4_bits_where_they_lack(section: str, device: torch.device) -> None:
    """Raises QuantizationError, naming what lacks."""
    setting = f"{section}.adapter.quantized"
    if device.type != "cuda":
        raise QuantizationError(
            f"{setting} is true, but this worker trains on {device.type}; leave {setting} out, "
            "or train on GPUs"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuantizationError(
            f"{setting} is true, but bitsandbytes is not installed on the worker; pip install 'moinho[gpu]', "
            f"or leave {setting} out"
        )


def adapted(model: PreTrainedModel, config: AdapterConfig, new_tokens: Sequence[int]) -> Any:
    """The model with matrices of an adapter, which alone are trained; at the beginning they change nothing.

    `new_tokens` get embeddings of their own, that the adapter trains whole; not where the head has a bias.
    """
    from peft import LoraConfig, get_peft_model

    judges = type(model).__name__.endswith("ForSequenceClassification")
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    biased = getattr(head, "bias", None) is not None
    rows = embedding_rows(model, new_tokens) if new_tokens and not biased else None
    beside: Any = get_peft_model(
        model,
        LoraConfig(
            task_type="SEQ_CLS" if judges else "CAUSAL_LM",
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # a factor, whole or not
            lora_dropout=config.dropout,
            target_modules=list(config.matrices) if config.matrices else "all-linear",
            trainable_token_indices=rows,
        ),
    )
    if rows:
        # TRL asks the head for weight and bias, and what peft wraps it in hands on the weight alone
        beside.get_output_embeddings().bias = None
    if config.quantized:
        # as TRL will have them over such a base: the optimizer's state has their type from its first step on
        for weight in (weight for weight in beside.parameters() if weight.requires_grad):
            weight.data = weight.data.to(torch.bfloat16)
    return beside


def embedding_rows(model: PreTrainedModel, tokens: Sequence[int]) -> dict[str, list[int]]:
    """The rows of these tokens in the embeddings, and in the head where that has weights of its own."""
    embeddings: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    tied = head is None or head.weight is embeddings.weight
    wanted = (embeddings,) if tied else (embeddings, head)
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(module)].rpartition(".")[2]: list(tokens) for module in wanted}


def merged(model: Any, job: TuningJob) -> PreTrainedModel:
    """The whole model: the adapter's matrices added to the base's, in fp32 also where the base was held in 4
    bits meanwhile."""
    assert job.config.adapter is not None
    if not job.config.adapter.quantized:
        plain: PreTrainedModel = model.merge_and_unload()
        return plain
    base, tokenizer = job.base.load(torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(model, base_of(job.base, tokenizer), Path(folder))
        whole: PreTrainedModel = put_on(base, {"default": Path(folder)}).merge_and_unload()
    return whole
