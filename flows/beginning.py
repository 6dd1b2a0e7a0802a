"""What a run goes on from: a model in a folder, on the hub or in the store, with its vocabulary; and the
general text that keeps in mind what that model knew."""

from flows.left_out import refuse_forgotten
from flows.references import UnknownArtifactError, find_artifact
from pipeline.compute import Compute
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError
from pipeline.models.model import Model
from pipeline.models.start import Start, StartConfig, near, stored_model, take_model
from pipeline.store import Artifact, PlanningStore, Store
from pipeline.tokens.encode import GeneralTokens, Tokens, TokensConfig, tokenize
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from pipeline.training.general import GeneralConfig, require_general_kept


class UnknownStartError(InputError):
    """`start.model` names neither a folder nor a model of the store."""

    remedy = (
        "Name a folder, a model that `moinho ls` shows, or one on the hub with its commit in start.revision."
    )


class UnknownGeneralTextError(InputError):
    """`pretrain.general.tokens` names no text of the store."""

    remedy = "Name the tokens or the corpus of a run, as `moinho ls` shows them, such as quickstart/tokens."


def begin(store: Store, config: StartConfig | None) -> Start | None:
    """What training goes on from; None if it begins from nothing.

    Raises UnknownStartError, ForeignModelError, of a foreign tokenizer ForeignTokenizerError.
    """
    if config is None:
        return None
    if not config.in_store():
        return take_model(store, config)
    try:
        found = find_artifact(store, config.model)
    except UnknownArtifactError as error:
        raise UnknownStartError(
            f"start.model: there is no folder {config.model!r}{near(config.model)}, and no such model in the "
            f"store ({error}); of one on the hub set start.revision to its commit of 40 hexadecimal digits"
        ) from None
    if not isinstance(found, Model):
        raise UnknownStartError(
            f"start.model: {config.model} is what the stage {found.stage} made, not a model; name a model, "
            "such as quickstart/base"
        )
    refuse_forgotten(store, found, "start.model")
    return stored_model(found)


def vocabulary_settings(
    config: VocabularyConfig, given: StartConfig | None, start: Start | None
) -> VocabularyConfig:
    """The settings of the vocabulary, with the tokenizer of the model that is gone on from."""
    if given is None or start is None:
        return config
    if given.in_store():
        return config.model_copy(update={"tokenizer": str(start.artifact.model_folder())})
    return config.model_copy(update={"tokenizer": given.model, "tokenizer_revision": given.revision})


def vocabulary_for(
    store: Store, corpus: Corpus, config: VocabularyConfig, given: StartConfig | None, start: Start | None
) -> Vocabulary:
    """Learned from the corpus, or that of the model that is gone on from: a model of the store has its own
    there already, unless `vocabulary.extend` asks for more pieces."""
    own = start.vocabulary() if start is not None else None
    if own is not None and not config.extend:
        return store.use(own)
    return train_vocabulary(store, corpus, vocabulary_settings(config, given, start))


def general_text(
    store: Store,
    config: GeneralConfig | None,
    vocabulary: Vocabulary,
    tokens: TokensConfig,
    compute: Compute,
) -> Tokens | None:
    """The tokens of the general text by the same vocabulary, in rows of the same length: those that are
    named, or made anew from their corpus. Raises UnknownGeneralTextError."""
    if config is None:
        return None
    corpus = _corpus_of(store, config.tokens)
    refuse_forgotten(store, corpus, "pretrain.general.tokens")
    return tokenize(store, corpus, vocabulary, tokens, compute, GeneralTokens)


def _corpus_of(store: Store, reference: str) -> Corpus:
    try:
        found: Artifact = find_artifact(store, reference)
    except UnknownArtifactError as error:
        raise UnknownGeneralTextError(f"pretrain.general.tokens: {error}") from None
    if isinstance(found, Tokens):
        return Corpus(store.storage, found.record.inputs["corpus"].key)
    if not isinstance(found, Corpus):
        raise UnknownGeneralTextError(
            f"pretrain.general.tokens: {reference} is what the stage {found.stage} made, not a text; name "
            "the tokens or the corpus of a run, such as quickstart/tokens"
        )
    return found


def require_kept(store: Store, base: Model, config: GeneralConfig | None) -> None:
    """Raises GeneralTextForgottenError if the model forgot more than the limit; a plan goes on."""
    if config is not None and not isinstance(store, PlanningStore):
        require_general_kept(base, config)
