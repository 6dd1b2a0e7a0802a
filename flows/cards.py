"""From what a user types to the data card of a corpus; one that was never drawn is drawn then."""

from functools import partial

from rich.console import Console

from flows.on_demand import found_or_made
from flows.references import find_artifact, made_from
from pipeline.cards.card import CardConfig, DataCard, describe
from pipeline.compute import Compute
from pipeline.corpus.hold_out import Corpus
from pipeline.errors import InputError
from pipeline.store import Artifact, Store
from pipeline.tokens.encode import Tokens


class NoCorpusError(InputError):
    """What was named leads to no corpus with its tokens."""

    remedy = "Name a run that has made its tokens, such as quickstart, or its tokens or card."


ROLES = (Tokens.role, DataCard.role)
"""Of what a run may still have of its corpus; a card may be that of tokens before."""


def card_of(store: Store, reference: str, console: Console) -> DataCard:
    """The card of a run, or the one that `reference` names, or that of the tokens it names.

    Raises NoCorpusError, UnknownArtifactError, StaleArtifactError.
    """
    own = next((name for role in ROLES if store.target_of(name := f"{reference}/{role}")), reference)
    found = find_artifact(store, own)
    if isinstance(found, DataCard):
        return found
    if not isinstance(found, Tokens):
        raise NoCorpusError(
            f"{reference} is what the stage {found.stage} made; name a run that has made its tokens, such as "
            "quickstart, or its tokens"
        )
    if (card := store.target_of(f"{reference}/{DataCard.role}")) is not None:
        drawn = DataCard(store.storage, card[1])
        if drawn.exists() and drawn.record.inputs["tokens"].key == found.key:
            return drawn
    return found_or_made(store.storage.root, partial(_described, tokens=found), console)


def corpus_of(card: DataCard) -> Corpus:
    """What a card is about. Raises NoCorpusError if that was discarded, and StaleArtifactError."""
    corpus = made_from(card, "corpus")
    if not isinstance(corpus, Corpus):
        raise _discarded(card)
    return corpus


def _described(store: Store, compute: Compute, tokens: Tokens) -> DataCard:
    corpus = made_from(tokens, "corpus")
    if not isinstance(corpus, Corpus):
        raise _discarded(tokens)
    return describe(store, tokens, corpus, CardConfig(), compute)


def _discarded(artifact: Artifact) -> NoCorpusError:
    return NoCorpusError(
        f"the corpus that {artifact.base} was made from is no longer in the store: run its configuration "
        "again, which makes it anew"
    )
