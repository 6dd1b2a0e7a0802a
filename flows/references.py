"""From what a user types (a name, a key or its beginning, a folder) to an artifact."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from crawler.ingest import IngestedPages
from crawler.site import Site
from pipeline.alignment.align import DpoModel, GrpoModel, RlooModel
from pipeline.alignment.ballots import Votes
from pipeline.alignment.ppo import PpoModel
from pipeline.alignment.preferences import Preferences
from pipeline.alignment.reward import RewardModel
from pipeline.alignment.rounds import Round
from pipeline.alignment.sampled import Answers
from pipeline.cards.card import DataCard
from pipeline.corpus.classifier import Classifier
from pipeline.corpus.clean import Documents
from pipeline.corpus.extract import RawDocuments
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.pages import Pages
from pipeline.corpus.sources import Files
from pipeline.corpus.text_index import TextIndex
from pipeline.errors import InputError
from pipeline.evaluation.assess import Assessment
from pipeline.evaluation.compare import Comparison
from pipeline.evaluation.evaluate import Scores
from pipeline.evaluation.history.stage import History
from pipeline.models.counted import CountedModel
from pipeline.models.model import LOOKS, Model, NotAModelError
from pipeline.models.start import StartModel
from pipeline.store import Artifact, Store
from pipeline.store.artifacts import RECORD
from pipeline.store.store import Named, StaleArtifactError, names_by_base
from pipeline.store.verify import artifact_folders
from pipeline.tokens.comparison import VocabularyComparison
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from pipeline.training.conversations import Conversations
from pipeline.training.finetune import ChatModel
from pipeline.training.pretrain import BaseModel
from pipeline.training.sweep import Sweep

KINDS: dict[str, type[Artifact]] = {
    kind.stage: kind
    for kind in (
        Site,
        Pages,
        IngestedPages,
        Files,
        RawDocuments,
        Classifier,
        Documents,
        Corpus,
        TextIndex,
        Vocabulary,
        VocabularyComparison,
        Tokens,
        DataCard,
        StartModel,
        BaseModel,
        CountedModel,
        Conversations,
        ChatModel,
        Scores,
        Answers,
        Votes,
        Preferences,
        RewardModel,
        DpoModel,
        GrpoModel,
        RlooModel,
        PpoModel,
        Round,
        Assessment,
        Comparison,
        History,
        Sweep,
    )
}


class UnknownArtifactError(InputError):
    """No artifact of the store has this name, key or folder, or several keys begin so."""

    remedy = "Use a name or key that `moinho ls` shows."


def find_artifact(store: Store, reference: str) -> Artifact:
    """The artifact that `reference` means: a name, `stage/key`, a key or its unique beginning, a folder.

    Raises UnknownArtifactError, naming the nearest that there is.
    """
    if not reference.strip("/ "):
        raise UnknownArtifactError(
            f"{reference!r} names nothing; give a name that `moinho ls` shows, such as quickstart/chat"
        )
    if (target := store.target_of(reference)) is not None:
        return _artifact(store, *target)
    folder = Path(reference).absolute()
    for home in (folder, *folder.parents) if folder.exists() else ():
        if (home / RECORD).is_file():
            return _artifact(Store(str(home.parent.parent)), home.parent.name, home.name)
    stage, _, beginning = reference.strip("/").rpartition("/")
    found = [
        (kind, key)
        for kind in ([stage] if stage in KINDS else [] if stage else KINDS)
        for key in store.storage.list(kind)
        if key.startswith(beginning) and store.storage.exists(f"{kind}/{key}/{RECORD}")
    ]
    if len(found) == 1:
        return _artifact(store, *found[0])
    if found:
        several = ", ".join(f"{kind}/{key}" for kind, key in found[:5])
        raise UnknownArtifactError(f"{reference}: several keys begin so ({several}); write more of it")
    raise _nothing_like(store, reference, store.named())


def _nothing_like(store: Store, reference: str, named: Named) -> UnknownArtifactError:
    """The error of a reference that means no artifact: what it does mean, or the nearest that there is."""
    wanted = reference.strip("/")
    flow, _, role = wanted.partition("/")
    stage, _, beginning = wanted.rpartition("/")
    of_flow = ", ".join(sorted(name for name in named if name.startswith(f"{flow}/")))
    if of_flow and not role:
        return UnknownArtifactError(f"{reference} is the name of a run; name one thing of it: {of_flow}")
    if wanted in KINDS:
        made = ", ".join(_made_by(store, wanted, named)) or "nothing in this store"
        return UnknownArtifactError(f"{reference} is a stage; it made {made}")
    for meant in difflib.get_close_matches(stage, KINDS, n=1) if stage not in KINDS else ():
        if made := ", ".join(_made_by(store, meant, named, beginning)):
            return UnknownArtifactError(f"{reference}: there is no stage {stage!r}; did you mean {made}?")
    near = difflib.get_close_matches(reference, named, n=3, cutoff=0.4) or sorted(named)
    there = f"there is {', '.join(near)}" if near else "the store is empty: `moinho run CONFIG` fills it"
    if of_flow and role in {kind.role for kind in KINDS.values()}:
        there = f"discarded, or not made yet; there is {of_flow}"
    return UnknownArtifactError(
        f"{reference}: nothing of that name in the store at {store.storage.address}; {there}"
    )


def _made_by(store: Store, stage: str, named: Named, beginning: str = "") -> Iterator[str]:
    """Its artifacts whose key begins so, with their names: `pretrain/df71… (quickstart/base)`."""
    names = names_by_base(named)
    for key in store.storage.list(stage):
        if key.startswith(beginning) and store.storage.exists(f"{stage}/{key}/{RECORD}"):
            yield with_names(f"{stage}/{key}", names)


def with_names(base: str, names: Mapping[str, list[str]]) -> str:
    """`stage/key (name, name)`."""
    return f"{base} ({', '.join(names[base])})" if base in names else base


def made_from(artifact: Artifact, role: str) -> Artifact | None:
    """What was given to it as that input; None if nothing was, or if it is no longer in the store.

    Raises StaleArtifactError if the input was made again since, with other content.
    """
    given = artifact.record.inputs.get(role)
    if given is None or given.stage not in KINDS:
        return None
    found = KINDS[given.stage](artifact.storage, given.key)
    if not found.exists():
        return None
    if found.record.digest != given.digest:
        raise StaleArtifactError(
            f"{artifact.base} was made from {found.base}, which was made again since with other content: "
            "what is in the store is not what it was made from"
        )
    return found


def find_base(store: Store, reference: str) -> str:
    """`stage/key` of what `reference` means, also of an artifact that was begun and not finished.

    Raises UnknownArtifactError.
    """
    try:
        return find_artifact(store, reference).base
    except UnknownArtifactError:
        stage, _, beginning = reference.strip("/").rpartition("/")
        found = [
            base
            for base in artifact_folders(store.storage)
            if base.startswith(f"{stage}/{beginning}")
            or (not stage and base.split("/")[1].startswith(beginning))
        ]
        if len(found) != 1 or not beginning:
            raise
        return found[0]


def find_model_folder(store: Store, reference: str) -> Path:
    """A local transformers folder: of a model artifact, or any folder that has a config.json.

    Raises UnknownArtifactError, and NotAModelError of a folder that is no model's.
    """
    folder = Path(reference)
    if (folder / "config.json").is_file():
        return folder
    artifact = _artifact_with_model(store, reference)
    if not isinstance(artifact, Model):
        raise UnknownArtifactError(
            f"{reference} is what the stage {artifact.stage} made, not a model; "
            f"models: {_names_of_models(store)}"
        )
    return artifact.model_folder()


def find_tokenizer_folder(store: Store, reference: str) -> Path:
    """A local folder with a tokenizer: of a model or a vocabulary."""
    folder = Path(reference)
    if (folder / "tokenizer_config.json").is_file():
        return folder
    artifact = _artifact_with_model(store, reference)
    if isinstance(artifact, Vocabulary):
        return artifact.folder("tokenizer")
    return find_model_folder(store, reference)


def _artifact_with_model(store: Store, reference: str) -> Artifact:
    """As find_artifact; where there is none, the message tells of models alone, or what a folder lacks."""
    try:
        return find_artifact(store, reference)
    except UnknownArtifactError as error:
        folder = Path(reference)
        if reference and folder.is_dir():
            raise NotAModelError(f"{folder} is no model folder: config.json is not there; {LOOKS}") from None
        raise UnknownArtifactError(f"{error}; models: {_names_of_models(store)}") from None


def _names_of_models(store: Store) -> str:
    stages = {stage for stage, kind in KINDS.items() if issubclass(kind, Model)}
    names = sorted(name for name, (stage, _) in store.named().items() if stage in stages)
    return ", ".join(names) or "none in this store yet"


def _artifact(store: Store, stage: str, key: str) -> Artifact:
    if stage not in KINDS:
        raise UnknownArtifactError(f"{stage}/{key}: this version of moinho has no stage {stage!r}")
    return KINDS[stage](store.storage, key)
