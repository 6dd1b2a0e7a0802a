"""Recurrent language models in transformers' form: Elman's network, GRU, LSTM.

transformers has no class for them, so this one is registered with its Auto classes: whatever opens models by
those, after `register`, opens these too. The cells are torch's own; around them are what deep stacks need to
learn at all: residual connections, a norm before the head, embeddings as wide as states (without these three,
80 steps of 2,048 tokens left a model of three layers at 6.5 nats, with them at 5.0).

Documents that lie in one row are read apart, each from a state of zeros. Gradients end every `truncation`
tokens, while the state goes on (truncated backpropagation through time; Williams and Peng, 1990).

B rows, T tokens, N documents of all rows, W width, V vocabulary.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

CELLS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
WINDOW_TOKENS = 64
"""Documents are read in stretches of so many tokens where gradients are not truncated, so that those that
have ended are not read on."""
State = tuple[torch.Tensor, ...]
"""What a layer remembers of each document, [1, N, W] each: one tensor, or two of an LSTM."""


class RecurrentConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Layers of one kind of cell, one on the other."""

    model_type = "moinho-recurrent"
    cell: str = "lstm"
    hidden_size: int = 256
    num_hidden_layers: int = 2
    vocab_size: int = 4096
    max_position_embeddings: int = 512
    """The length of rows that it was trained on; it reads longer texts too."""
    truncation: int | None = None
    """Tokens after which gradients end; None for a document's whole length."""
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None


@dataclass(frozen=True)
class Documents:
    """Where the documents of a batch lie in its rows, the longest first."""

    starts_N: torch.Tensor
    """Of each the place of its first token in all rows one after another."""
    lengths_N: torch.Tensor

    @classmethod
    def of(cls, documents_BT: torch.Tensor) -> "Documents":
        """By the document's number at each token; -1 is padding, which is read by nobody."""
        B, T = documents_BT.shape
        marked = documents_BT.new_full((B, T + 1), -2)  # rows end documents
        marked[:, :T] = documents_BT
        flat = marked.flatten()
        begins = torch.ones_like(flat, dtype=torch.bool)
        begins[1:] = flat[1:] != flat[:-1]
        starts = begins.nonzero().flatten()
        lengths = torch.diff(starts, append=starts.new_tensor([len(flat)]))
        real = flat[starts] >= 0
        starts, lengths = starts[real], lengths[real]
        longest_first = lengths.argsort(descending=True, stable=True)
        starts, lengths = starts[longest_first], lengths[longest_first]
        return cls(starts - starts // (T + 1), lengths)

    def windows(self, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Stretches of so many tokens of all documents that reach there: the places of their tokens
        [N, tokens] (behind a shorter stretch its first again), and their lengths [N]."""
        longest = int(self.lengths_N[0]) if len(self.lengths_N) else 0
        for begin in range(0, longest, tokens):
            there = int((self.lengths_N > begin).sum())
            lengths_N = (self.lengths_N[:there] - begin).clamp(max=tokens)
            columns = torch.arange(int(lengths_N.max()), device=lengths_N.device)
            columns = columns.expand(there, -1).where(columns < lengths_N[:, None], 0)
            yield self.starts_N[:there, None] + begin + columns, lengths_N


class RecurrentForCausalLM(PreTrainedModel, GenerationMixin):
    """Scores of the next token by a state that is carried from token to token."""

    config_class = RecurrentConfig
    config: RecurrentConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True  # it has no attention, so any will do
    _no_split_modules = []  # noqa: RUF012
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}  # noqa: RUF012 - as transformers has it

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        width, cell = config.hidden_size, CELLS[config.cell]
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.layers = nn.ModuleList(
            cell(width, width, batch_first=True) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.lm_head: nn.Module = nn.Linear(width, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """The embedding narrow, as the tied head needs it; cells as torch begins them, and an LSTM's gate
        that forgets open (Jozefowicz et al., 2015)."""
        if isinstance(module, nn.RNNBase):
            module.reset_parameters()
            if isinstance(module, nn.LSTM):
                bias: Any = module.bias_ih_l0
                nn.init.ones_(bias[module.hidden_size : 2 * module.hidden_size])
        elif isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.lm_head = new_embeddings

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        document_ids: torch.Tensor | None = None,
        **given: Any,
    ) -> CausalLMOutput:
        """`document_ids` [B, T] tells documents of a row apart, -1 is padding; without them each row is one
        document, as far as `attention_mask` [B, T] lets it be read. What else transformers hands over, such
        as places or caches, does not concern a recurrent model."""
        hidden_BTW = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        B, T, W = hidden_BTW.shape
        hidden_BTW = hidden_BTW * math.sqrt(W)  # as wide as states are, beside which it is to count
        if document_ids is None:
            document_ids = torch.zeros(B, T, dtype=torch.long, device=hidden_BTW.device)
            if attention_mask is not None:
                document_ids = attention_mask.long() - 1
        hidden_BTW = self.norm(self._read(hidden_BTW, Documents.of(document_ids)))
        return CausalLMOutput(logits=self.lm_head(hidden_BTW))

    def _read(self, hidden_BTW: torch.Tensor, documents: Documents) -> torch.Tensor:
        """The last layer's state after each token; zeros on padding. Always in fp32: what is carried over
        many tokens is rounded as often."""
        B, T, W = hidden_BTW.shape
        flat, truncation = hidden_BTW.reshape(B * T, W), self.config.truncation
        states: list[State] = [()] * len(self.layers)
        places, found = [], []
        with torch.autocast(hidden_BTW.device.type, enabled=False):
            for place_NK, lengths_N in documents.windows(truncation or WINDOW_TOKENS):
                hidden_NKW = flat[place_NK].float()
                for number, layer in enumerate(self.layers):
                    before = _of_those_that_go_on(states[number], len(lengths_N), truncation is not None)
                    hidden_NKW, states[number] = _step(layer, hidden_NKW, before)
                real_NK = torch.arange(place_NK.shape[1], device=lengths_N.device) < lengths_N[:, None]
                places.append(place_NK[real_NK])
                found.append(hidden_NKW[real_NK])
        out = torch.zeros(B * T, W, dtype=torch.float32, device=flat.device)
        if found:
            out = out.index_copy(0, torch.cat(places), torch.cat(found))
        return out.view(B, T, W)


def _of_those_that_go_on(state: State, count: int, cut: bool) -> State:
    """What is remembered of documents that did not end in the stretch before, which are the longest;
    gradients do not go back there where they are `cut`."""
    there = (each[:, :count].contiguous() for each in state)
    return tuple(each.detach() if cut else each for each in there)


def _step(layer: nn.Module, given_NKW: torch.Tensor, before: State) -> tuple[torch.Tensor, State]:
    """A stretch through a layer, added to what came in (residual connections, as Wu et al., 2016,
    arXiv:1609.08144, stack LSTMs). Behind a document's end stands anything: nobody looks back at it."""
    start = () if not before else (before if len(before) > 1 else before[0],)
    read, after = layer(given_NKW, *start)
    return given_NKW + read, after if isinstance(after, tuple) else (after,)


def register() -> None:
    """Let transformers' Auto classes open these models."""
    AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
    AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM, exist_ok=True)


register()
