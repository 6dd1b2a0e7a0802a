"""vLLM (Kwon et al., 2023, arXiv:2309.06180) in place of transformers, where it is installed beside a GPU."""

import contextlib
import importlib.util
import itertools
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedTokenizerBase

from pipeline.chat.engine import LEAST_TEMPERATURE, EngineError
from pipeline.chat.generation import Sampling

MEMORY = 0.9
"""Share of a GPU's memory that vLLM takes for itself, as is its own default."""


def is_usable() -> bool:
    """Whether there are a GPU and the package."""
    return torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


class VllmEngine:
    """A model's folder, served by vLLM's AsyncLLM; `gpus` below 1 is the share of a GPU that it may take."""

    def __init__(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase, most_at_once: int, gpus: float
    ) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.context = int(config.get_text_config().max_position_embeddings)
        self._most_at_once, self._share = most_at_once, min(1.0, gpus or 1.0)
        self._numbers = itertools.count()

    def start(self) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=str(self.folder),
                max_model_len=self.context,
                max_num_seqs=self._most_at_once,
                gpu_memory_utilization=MEMORY * self._share,
                trust_remote_code=False,
            )
        )

    def stop(self) -> None:
        self._llm.shutdown()

    def check(self) -> None:
        if self._llm.errored:
            raise EngineError("vLLM has ended")

    async def tokens(
        self, prompt: Sequence[int], sampling: Sampling, stop: Sequence[int]
    ) -> AsyncGenerator[int, None]:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        room = min(sampling.max_tokens, self.context - len(prompt))
        if room < 1:
            return
        settings = SamplingParams(
            max_tokens=room,
            temperature=sampling.temperature and max(sampling.temperature, LEAST_TEMPERATURE),
            top_p=sampling.top_p or 1.0,
            top_k=sampling.top_k or 0,
            stop_token_ids=list(stop),
            ignore_eos=True,  # what ends a text is in `stop`
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        asked = TokensPrompt(prompt_token_ids=list(prompt))
        outputs: Any = self._llm.generate(asked, settings, f"text-{next(self._numbers)}")
        try:
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    for token in output.outputs[0].token_ids:
                        if token in stop:
                            return
                        yield token
        except (EngineDeadError, EngineGenerateError, ValueError) as error:
            raise EngineError(f"the model could not go on with the text: {error}") from error
