"""Artifacts in the shape that the earlier stages leave them, made without a crawl or a training run."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, set_seed

from pipeline.config import Config
from pipeline.models.model import MODEL_FOLDER, Model
from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.tokens.vocabulary import Vocabulary

Documents = list[tuple[str, str]]
"""(language, text)"""


class NoConfig(Config):
    pass


class SmallCorpus(Artifact):
    stage, role = "hold-out", "corpus"

    def texts(self, split: str):  # type: ignore[no-untyped-def]
        for path in self.paths(f"{split}/"):
            yield from pq.read_table(path)["text"].to_pylist()


class SmallConversations(Artifact):
    stage, role = "conversations", "conversations"


class SmallModel(Model):
    stage, role = "pretrain", "base"


def write_corpus(store: Store, train: Documents, held_out: Documents) -> SmallCorpus:
    def build(attempt: Attempt) -> Made:
        files = {}
        for split, documents in {"train": train, "held-out": held_out}.items():
            for shard in range(2):
                name = f"{split}/{shard:05}.parquet"
                own = list(enumerate(documents))[shard::2]
                columns = {
                    "id": [f"{split}-{number}" for number, _ in own],
                    "url": [f"http://docs.moinho.test/{split}/{number}" for number, _ in own],
                    "language": [language for _, (language, _) in own],
                    "text": [text for _, (_, text) in own],
                }
                schema = pa.schema([(column, pa.string()) for column in columns])
                pq.write_table(pa.table(columns, schema=schema), attempt.path(name))
                files[name] = attempt.publish(attempt.path(name))
        sizes = {"train.bytes": _size(train), "held-out.bytes": _size(held_out)}
        return Made(files, sizes)

    return store.make(SmallCorpus, NoConfig(), {}, build)


def _size(documents: Documents) -> int:
    return sum(len(text.encode()) for _, text in documents)


def write_conversations(store: Store, pairs: list[tuple[str, str]]) -> SmallConversations:
    def build(attempt: Attempt) -> Made:
        rows = [
            {
                "id": f"c{number}",
                "url": "http://docs.moinho.test/",
                "language": "en",
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ],
                "question": question,
                "answer": answer,
            }
            for number, (question, answer) in enumerate(pairs)
        ]
        path = attempt.path("held-out/00000.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
        return Made({"held-out/00000.parquet": attempt.publish(path)}, {"held-out": len(rows)})

    return store.make(SmallConversations, NoConfig(), {}, build)


def random_model(pieces: int, context: int = 64, width: int = 32) -> PreTrainedModel:
    """A Llama of two layers with random weights, the same each time."""
    set_seed(0)
    config = LlamaConfig(
        vocab_size=pieces,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    return LlamaForCausalLM(config).eval()


def recurrent_model(pieces: int, width: int = 32) -> PreTrainedModel:
    """An LSTM of a layer with random weights, the same each time."""
    set_seed(0)
    config = RecurrentConfig(vocab_size=pieces, hidden_size=width, num_hidden_layers=1, initializer_range=0.3)
    return RecurrentForCausalLM(config).eval()


def publish_model(
    store: Store, model: PreTrainedModel, vocabulary: Vocabulary, kind: type[SmallModel] = SmallModel
) -> SmallModel:
    def build(attempt: Attempt) -> Made:
        folder: Path = attempt.path(MODEL_FOLDER)
        model.save_pretrained(folder)
        vocabulary.tokenizer().save_pretrained(folder)
        return Made(attempt.publish_folder(MODEL_FOLDER))

    return store.make(kind, NoConfig(), {"vocabulary": vocabulary}, build)
