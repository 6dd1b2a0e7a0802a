"""A loaded model as lm-evaluation-harness asks for one.

The harness's own HFLM refuses a task whose answers may be longer than a small model's context, and reads
text from outside with the tokenizer's markers in it. Here prompts that are too long lose their beginning,
which is counted, and texts are encoded as everywhere else in the pipeline.

B rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.evaluation.likelihood import TOKENS_AT_ONCE
from pipeline.evaluation.tasks.prompts import PromptForm
from pipeline.models.generation import (
    answer_greedily,
    context_tokens,
    document_end,
    encode,
    piece_bytes,
    stop_ids,
)

DEFAULT_ANSWER_TOKENS = 128
"""Of a task that does not say how long an answer may be."""
Request = tuple[Any, list[int], list[int]]
"""What the harness knows it by, the ids of the context, and those of the continuation."""


class LoadedModel(TemplateLM):  # type: ignore[misc]
    """Answers the harness's three kinds of requests, greedily and with batches by length."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: PromptForm) -> None:
        super().__init__()
        self.model, self.tokenizer, self.form = model, tokenizer, form
        self.pieces = piece_bytes(tokenizer)
        self.asked = 0
        """Requests so far."""
        self.cut = 0
        """Requests of which the beginning did not fit into the context."""

    @property
    def eot_token_id(self) -> int:
        return document_end(self.tokenizer)[0]

    @property
    def prefix_token_id(self) -> int:
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def max_length(self) -> int:
        return context_tokens(self.model)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """A conversation that the template wrote has its markers; any other text's are neutralised."""
        if self.form == "chat" and self.tokenizer.bos_token and string.startswith(self.tokenizer.bos_token):
            return [int(index) for index in self.tokenizer.encode(string, add_special_tokens=False)]
        ids = encode(self.tokenizer, string)
        begins = self.tokenizer.bos_token_id is not None
        return ids[1:] if begins and add_special_tokens is False else ids

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests: list[Request], **_: Any) -> list[tuple[float, bool]]:
        """Log probability (nats) of each continuation, and whether greedy decoding would write it."""
        self.asked += len(requests)
        rows = [self._fitting(context, continuation) for _, context, continuation in requests]
        found: list[tuple[float, bool]] = [(0.0, True)] * len(rows)
        order = sorted(range(len(rows)), key=lambda at: len(rows[at][0]))
        while order:
            together = max(1, TOKENS_AT_ONCE // max(1, len(rows[order[-1]][0])))
            batch, order = order[-together:], order[:-together]
            for at, score in zip(batch, self._score([rows[at] for at in batch]), strict=True):
                found[at] = score
        return found

    def _fitting(self, context: list[int], continuation: list[int]) -> tuple[list[int], int]:
        """The ids that fit, and how many of them, at the end, are scored."""
        ids = [*context, *continuation]
        limit = self.max_length + 1  # the last id is never read, only foretold
        self.cut += len(ids) > limit
        kept = ids[-limit:]
        return kept, min(len(continuation), len(kept) - 1)

    def _score(self, rows: Sequence[tuple[list[int], int]]) -> list[tuple[float, bool]]:
        longest = max(len(ids) for ids, _ in rows)
        ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, (ids, _) in enumerate(rows):
            ids_BT[at, : len(ids)] = torch.tensor(ids)
        # Padding stands to the right of what is scored, so causal attention never sees it.
        logits_BTV = self.model(input_ids=ids_BT[:, :-1].to(self.model.device), use_cache=False).logits
        found = []
        for at, (ids, scored) in enumerate(rows):
            last = len(ids) - 1
            logs_TV = logits_BTV[at, last - scored : last].float().log_softmax(-1).cpu()
            wanted_T = torch.tensor(ids[len(ids) - scored :])
            logs_T = logs_TV.gather(1, wanted_T[:, None])[:, 0]
            found.append((float(logs_T.double().sum()), bool((logs_TV.argmax(-1) == wanted_T).all())))
        return found

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Log probability (nats) of each whole text, in windows that do not overlap."""
        found = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            scores = self._loglikelihood_tokens([(None, *make_disjoint_window(window)) for window in windows])
            found.append(sum(score for score, _ in scores))
        return found

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Greedy answers, each cut before the first of its stop texts. Sampling is not done."""
        found = [""] * len(requests)
        by_length: dict[int, list[int]] = {}
        for at, request in enumerate(requests):
            asked = int(request.args[1].get("max_gen_toks") or DEFAULT_ANSWER_TOKENS)
            by_length.setdefault(max(1, min(asked, self.max_length // 2)), []).append(at)
        for most, members in by_length.items():
            prompts = [self._prompt(requests[at].args[0], most) for at in members]
            stops = [_stop_texts(requests[at].args[1]) for at in members]
            new_line = all("\n" in each for each in stops)
            ends = self._ends(new_line)
            answers = answer_greedily(self.model, prompts, max_tokens=most, stop=ends)
            for at, ids, stop in zip(members, answers, stops, strict=True):
                text = b"".join(self.pieces[index] for index in ids).decode("utf-8", "replace")
                found[at] = _before(text, stop)
        self.asked += len(requests)
        return found

    def _prompt(self, text: str, answer_tokens: int) -> list[int]:
        ids, room = self.tok_encode(text), max(1, self.max_length - answer_tokens)
        self.cut += len(ids) > room
        return ids[-room:]

    def _ends(self, new_line: bool) -> set[int]:
        ends = stop_ids(self.tokenizer) if self.form == "chat" else document_end(self.tokenizer)
        lines = (index for index, piece in enumerate(self.pieces) if new_line and b"\n" in piece)
        return {*ends, *lines}


def _stop_texts(options: dict[str, Any]) -> list[str]:
    until = options.get("until") or []
    return [until] if isinstance(until, str) else [str(each) for each in until]


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stop texts. A white space that begins an answer is none of it."""
    text = text.lstrip(" ")
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]
