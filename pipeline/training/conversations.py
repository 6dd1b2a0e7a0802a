"""The stage that writes conversations: what the base model learns to answer from.

They come from the user (a file or a data set in the `messages` form), or from the corpus itself:
what its documents' headings name is asked about, and the prose below answers. Held-out
conversations come from held-out documents alone.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import StageError
from pipeline.shards import ShardOutput, any_lost, files_of
from pipeline.store import Artifact, Attempt, Made, Store
from pipeline.training.user_rows import UserSource

if TYPE_CHECKING:
    import datasets

Split = Literal["train", "held-out"]

FOUND_PER_BYTE = 0.9e-3
"""Conversations for a byte of text: 0.9 for a thousand bytes of English documentation, 0.5 of Portuguese."""

Share = Annotated[float, Field(ge=0, le=1)]

CORPUS = "corpus"
FOUND_IN = {
    "headings": "headings with prose below them",
    "speeches": "two speeches one behind the other, their speakers' names on lines of their own,",
}
EXAMPLE = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'


class Questions(Config):
    """Ways to ask, each with {name} where the subject stands."""

    name: tuple[str, ...] = Field(min_length=1)
    """About an identifier of code."""
    topic: tuple[str, ...] = Field(min_length=1)
    """About a section by its title."""
    within: str
    """How the subject is written where several pages have it; with {name} and {context}."""

    @field_validator("name", "topic")
    @classmethod
    def templates_name_their_subject(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if "{name}" not in template:
                raise ValueError(f"{template!r} asks about nothing; write {{name}} where the subject stands")
        return templates


ENGLISH = Questions(
    name=(
        "What is `{name}`?",
        "What does `{name}` do?",
        "What is `{name}` for?",
        "Explain `{name}`.",
        "Tell me about `{name}`.",
        "Can you explain `{name}`?",
        "How would you describe `{name}`?",
        "What can you tell me about `{name}`?",
    ),
    topic=(
        "Tell me about {name}.",
        "What should I know about {name}?",
        "What can you tell me about {name}?",
        "Explain this to me: {name}.",
    ),
    within="{name}` in `{context}",
)
PORTUGUESE = Questions(
    name=(
        "O que é `{name}`?",
        "O que faz `{name}`?",
        "Para que serve `{name}`?",
        "Explique `{name}`.",
        "Fale sobre `{name}`.",
        "Pode explicar `{name}`?",
        "Como você descreveria `{name}`?",
    ),
    topic=(
        "O que é {name}?",
        "Fale sobre {name}.",
        "O que devo saber sobre {name}?",
        "Pode me explicar {name}?",
    ),
    within="{name}` em `{context}",
)


class ConversationsConfig(Config):
    """Where conversations come from, and how those are made that come from the corpus."""

    source: str = CORPUS
    """"corpus"; or a .jsonl or .parquet file; or the name or folder of a data set for `datasets`.
    Every row of a file or data set has `messages`, a list of {role, content}."""
    form: Literal["headings", "speeches"] = "headings"
    """What is found in the corpus: "headings", which are asked about, with the prose below; or "speeches" of
    plays, each with the one that answers it."""
    split: str = "train"
    """Of a `datasets` source: which of its splits."""
    revision: str | None = None
    """Of a data set on a hub: the commit; part of the key, since the data set may change."""
    held_out_share: float = Field(default=0.05, gt=0, lt=1)
    """Share of a file's or data set's conversations that is held out, by their first question."""
    train_conversations: int = Field(default=20_000, ge=1)
    """At most so many to train on; chosen by hash."""
    held_out_conversations: int = Field(default=1_000, ge=1)
    """At most so many held out; chosen by hash."""
    answer_characters: int = Field(default=300, ge=40)
    """Longest answer that is made from the corpus: whole sentences, or a whole speech."""
    answer_paragraphs: int = Field(default=1, ge=1)
    """Most paragraphs below a heading that an answer goes through."""
    named_shares: tuple[Share, ...] = (0.0,)
    """Share of the answers below headings that begin with what was asked about, as in a glossary: for the
    first way to ask, the second and so on, and again from the first."""
    questions: dict[str, Questions] = Field(default={"en": ENGLISH, "pt": PORTUGUESE}, min_length=1)
    """Language (pt, or pt-BR alone) → ways to ask in it; documents in another are not asked about."""

    def identity(self) -> dict[str, Any]:
        """A file enters the key by its content, wherever it lies."""
        values = super().identity()
        if _path(self) is not None:
            values["source"] = "file"
        return values


class NoConversationsError(StageError):
    """Nothing in the corpus could be asked about, or nothing was left to hold out."""

    passes = False
    remedy = "Crawl pages with headings and paragraphs, or give a source of conversations."


class Conversations(Artifact):
    """Conversations in `train/` and `held-out/`: id, url, language, messages, question, answer."""

    stage, role, revision = "conversations", "conversations", 1

    def dataset(self, split: Split) -> "datasets.Dataset":
        """Sorted by id; `messages` is a list of {role, content}."""
        from pipeline.corpus.tables import as_dataset

        return as_dataset(self.paths(f"{split}/"))

    def rows(self, split: Split) -> Iterator[dict[str, Any]]:
        """Every conversation in order, without the cache of `datasets`."""
        import pyarrow.parquet as pq

        for path in self.paths(f"{split}/"):
            yield from pq.read_table(path).to_pylist()


def write_conversations(
    store: Store, corpus: Corpus, config: ConversationsConfig, compute: Compute
) -> Conversations:
    """Conversations to train on and held out, from what `config.source` names.

    Raises SourceError, RevisionMissingError, the errors of pipeline.training.messages (all exit
    code 2, with file and row) and NoConversationsError.
    """
    content = check_source(config)
    return store.make(
        Conversations,
        config,
        {"corpus": corpus} if config.source == CORPUS else {},
        partial(_build, corpus=corpus, config=config, compute=compute),
        content=content,
        work=lambda: _work(corpus, config),
    )


def check_source(config: ConversationsConfig) -> dict[str, str]:
    """The identity of what comes from outside, by name. A flow may call it before it starts anything.

    Raises SourceError if a file is not there, RevisionMissingError.
    """
    if config.source == CORPUS:
        return {}
    return user_source(config).identity(', or set conversations.source to "corpus"')


def user_source(config: ConversationsConfig) -> UserSource:
    """The file or data set that the section names."""
    return UserSource("conversations", config.source, config.split, config.revision, EXAMPLE)


def check_messages(config: ConversationsConfig) -> int:
    """Read a file through and count its conversations, before anything is started; 0 for other sources.

    Raises the errors of pipeline.training.messages at the first row that is wrong.
    """
    path = _path(config)
    if path is None or not path.is_file():
        return 0
    from pipeline.training.messages import read_messages

    return sum(1 for _ in read_messages(config))


def _path(config: ConversationsConfig) -> Path | None:
    """The source if it is a file or folder of this machine."""
    return None if config.source == CORPUS else user_source(config).path()


def _work(corpus: Corpus, config: ConversationsConfig) -> dict[str, float]:
    """Of a source of the user's own it is not known how much it has before it is read: the most."""
    if config.source != CORPUS:
        return {"train": config.train_conversations, "held-out": config.held_out_conversations}
    counts = corpus.counts()
    found = {split: counts.get(f"{split}.bytes", 0) * FOUND_PER_BYTE for split in get_args(Split)}
    return {
        "documents": counts.get("train", 0) + counts.get("held-out", 0),
        "bytes": counts.get("train.bytes", 0) + counts.get("held-out.bytes", 0),
        "train": min(found["train"], config.train_conversations),
        "held-out": min(found["held-out"], config.held_out_conversations),
    }


def _build(attempt: Attempt, corpus: Corpus, config: ConversationsConfig, compute: Compute) -> Made:
    from pipeline.training import conversation_shards as shards

    if config.source != CORPUS:
        # read here and not in a task: the file is on this machine, workers may be on others
        counts = shards.read_source(config, ShardOutput(attempt.path("read/.").resolve()))
        files = attempt.publish_folder("read")
        return Made(
            files={name.removeprefix("read/"): file for name, file in files.items()},
            counts=_checked(counts, config),
        )
    names = [*corpus.names("train/"), *corpus.names("held-out/")]
    found = compute.map_shards(
        attempt,
        "find",
        {_identity(name): shards.Finding(corpus, name, config) for name in names},
        shards.find,
    )
    chosen = compute.map_shards(
        attempt, "choose", {"all": shards.Choosing(attempt, tuple(found), config)}, shards.choose
    )
    return Made(files=files_of(chosen), counts=_checked(chosen[0].counts, config), incomplete=any_lost(found))


def _identity(name: str) -> str:
    return name.removesuffix(".parquet").replace("/", "-")


def _checked(counts: Mapping[str, int], config: ConversationsConfig) -> Mapping[str, int]:
    for split in ("train", "held-out"):
        if not counts[split]:
            raise NoConversationsError(
                f"conversations from {config.source!r}: none for {split} "
                f"({', '.join(f'{name} {count}' for name, count in counts.items())}); "
                + (
                    f"the documents have no {FOUND_IN[config.form]} in a language that "
                    f"conversations.questions knows ({', '.join(config.questions)}): crawl more, or name a "
                    "file with `messages` in conversations.source"
                    if config.source == CORPUS
                    else "two different conversations are needed at least"
                )
            )
    return counts
