"""The road from URLs to a chat model, a line per stage."""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import field_validator, model_validator

from crawler.crawl import Ahead, CrawlConfig, crawl
from crawler.ingest import IngestConfig, ingest
from crawler.site import SiteConfig, build_site
from flows.assistant import align, assess_all, check_given
from flows.beginning import begin, general_text, require_kept, vocabulary_for, vocabulary_settings
from pipeline.alignment.align import DpoConfig, GrpoConfig, RlooConfig
from pipeline.alignment.ppo import PpoConfig
from pipeline.alignment.preferences import PreferencesConfig
from pipeline.alignment.reward import RewardConfig
from pipeline.alignment.rounds import FeedbackConfig
from pipeline.alignment.sampled import AnswersConfig
from pipeline.cards.card import CardConfig, describe
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.config import Config
from pipeline.corpus.classifier import ClassifierConfig, train_classifier
from pipeline.corpus.clean import CleanConfig, Documents, clean
from pipeline.corpus.extract import ExtractConfig, extract, raw_documents
from pipeline.corpus.extract_ahead import ExtractionAhead
from pipeline.corpus.hold_out import Corpus, HoldOutConfig, hold_out
from pipeline.corpus.pages import Pages
from pipeline.corpus.sources import SourceConfig, take_in
from pipeline.errors import InputError
from pipeline.evaluation.assess import AssessConfig
from pipeline.evaluation.compare import CompareConfig, Comparison
from pipeline.evaluation.evaluate import EvaluateConfig, Scores, evaluate
from pipeline.evaluation.history.stage import HistoryConfig
from pipeline.models.families import FAMILIES
from pipeline.models.model import Model
from pipeline.models.start import StartConfig
from pipeline.store import Artifact, PlanningStore, Store
from pipeline.tokens.comparison import ComparisonConfig, VocabularyComparison, compare_vocabularies
from pipeline.tokens.encode import Tokens, TokensConfig, tokenize
from pipeline.tokens.texts import names_of
from pipeline.tokens.vocabulary import Vocabulary, VocabularyConfig, train_vocabulary
from pipeline.training.continuing import SHAPE, continuing, require_context
from pipeline.training.conversations import Conversations, ConversationsConfig, write_conversations
from pipeline.training.finetune import FinetuneConfig, finetune
from pipeline.training.pretrain import pretrain
from pipeline.training.pretrain_config import PretrainConfig
from pipeline.training.sweep import Sweep, SweepConfig, SweepPlan, sweep


class WebToModel(Config):
    """A whole run. Every section but `compute` decides what is made; `compute` decides where."""

    supersedes: ClassVar = {"start": (*(("pretrain", name) for name in SHAPE), ("vocabulary", "tokenizer"))}

    name: str
    """Name of the run: its artifacts are then called `<name>/base`, `<name>/chat` and so on."""
    site: SiteConfig | None = None
    """The site that is made here and crawled where neither `crawl.seeds` nor `sources` names anything."""
    crawl: CrawlConfig = CrawlConfig()
    ingest: IngestConfig | None = None
    """Archives that are read in place of a crawl."""
    sources: tuple[SourceConfig, ...] = ()
    """Files and data sets beside the crawl, or in its place where `crawl.seeds` is empty."""
    extract: ExtractConfig = ExtractConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    clean: CleanConfig = CleanConfig()
    hold_out: HoldOutConfig = HoldOutConfig()
    start: StartConfig | None = None
    """A model that pretraining goes on from: a foreign one, or one of the store. Default: it begins from
    nothing."""
    vocabulary: VocabularyConfig = VocabularyConfig()
    tokens: TokensConfig = TokensConfig()
    card: CardConfig = CardConfig()
    pretrain: PretrainConfig = PretrainConfig()
    sweep: SweepConfig = SweepConfig()
    """What `moinho sweep` tries; a run takes no notice of it."""
    conversations: ConversationsConfig = ConversationsConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    answers: AnswersConfig = AnswersConfig()
    """Answers of the chat model that are sampled, where preferences are to come from them."""
    preferences: PreferencesConfig | None = None
    """Which of two answers is preferred. Default: the run ends with the chat model."""
    reward: RewardConfig | None = None
    """A model of the preferences, for grpo, rloo and ppo."""
    dpo: DpoConfig | None = None
    """Each of these, where it is there, makes a model of its own from the chat model."""
    grpo: GrpoConfig | None = None
    rloo: RlooConfig | None = None
    ppo: PpoConfig | None = None
    feedback: FeedbackConfig | None = None
    """Rounds of votes and training, for `moinho feedback`; a run takes no notice of it."""
    history: HistoryConfig | None = None
    """What `moinho history` trains and compares; a run takes no notice of it."""
    assess: AssessConfig | None = None
    """A page about each model: tasks, bias, memorization and more. Default: none."""
    compare: CompareConfig = CompareConfig()
    """Of the assessed models, on one page."""
    chat: bool | None = None
    """Whether the base model is made into one that chats; if not, the run ends with it. Default: if its
    family is a transformer that continues text."""
    compute: ComputeConfig = ComputeConfig()

    @field_validator("name")
    @classmethod
    def name_fits_a_path(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            fit = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("_.-") or "mysite"
            raise ValueError(
                f"found {name!r}; letters without accents, digits, _ . and - are allowed, and the first is "
                f'a letter or a digit; try "{fit}"'
            )
        return name

    @property
    def sources_alone(self) -> bool:
        """Whether sources take the place of crawl, archives and site."""
        return bool(self.sources) and not self.crawl.names_seeds and self.ingest is None

    @model_validator(mode="after")
    def has_something_to_read(self) -> Self:
        if self.ingest is not None and self.crawl.names_seeds:
            raise ValueError("crawl.seeds and ingest.archives are both set: leave one of them out")
        named = self.crawl.names_seeds or self.ingest is not None or self.sources
        if self.site is None and not named:
            raise ValueError(
                'there is nothing to read: set crawl.seeds, such as ["https://www.example.org/"], or name '
                "files in [[sources]]"
            )
        return self

    @model_validator(mode="after")
    def sources_have_names_of_their_own(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}; give each a name of its own")
        return self

    @model_validator(mode="after")
    def earlier_documents_are_not_its_own(self) -> Self:
        own = f"{self.name}/{Documents.role}"
        if own in self.clean.earlier:
            raise ValueError(
                f"clean.earlier names {own}, and that is what this run makes: give this run another name, or "
                f"name the earlier documents by their key, as `moinho show {own}` tells it"
            )
        return self

    @model_validator(mode="after")
    def what_goes_by_quality_has_a_judge(self) -> Self:
        if self.clean.least_quality > 0 and not self.classifier.good:
            raise ValueError(
                "clean.least_quality is set, and without a classifier no document has a score: name "
                "examples in classifier.good and classifier.bad, or leave it out"
            )
        if self.clean.keeper == "best-quality" and not self.classifier.good:
            raise ValueError(
                "clean.keeper is best-quality, and without a classifier no document has a score: name "
                "examples in classifier.good and classifier.bad, or try longest"
            )
        return self

    @property
    def chats(self) -> bool:
        """Whether the run goes on to a chat model."""
        able = FAMILIES[self.pretrain.family].is_decoder
        return able if self.chat is None else self.chat

    @model_validator(mode="after")
    def what_chats_can_chat(self) -> Self:
        family = self.pretrain.family
        if self.chat and not FAMILIES[family].is_decoder:
            raise ValueError(
                f"chat is true, and pretrain.family is {family}, which is not fine-tuned to chat here: leave "
                "chat out, and the run ends with the base model, or take llama or gpt2"
            )
        named = ("preferences", "reward", "dpo", "grpo", "rloo", "ppo", "feedback", "assess")
        vain = [name for name in named if getattr(self, name) is not None]
        if vain and not self.chats:
            raise ValueError(
                f"there is a section {vain[0]}, and the run ends with the base model "
                f"({'chat is false' if self.chat is False else f'a {family} does not chat'}): leave it out"
            )
        return self

    @model_validator(mode="after")
    def what_learns_from_preferences_has_some(self) -> Self:
        for name in ("reward", "dpo"):
            if getattr(self, name) is not None and self.preferences is None:
                raise ValueError(
                    f"there is a section {name}, and no preferences to learn from: add a section "
                    "[preferences], with a file in `source` or a function in `label`"
                )
        for name in ("grpo", "rloo", "ppo"):
            section = getattr(self, name)
            if section is not None and section.reward is None and self.reward is None:
                raise ValueError(
                    f"there is a section {name}, and nothing that rewards an answer: add a section [reward], "
                    f'or set {name}.reward to a function of yours, such as "rules.py:good"'
                )
        return self

    @model_validator(mode="after")
    def a_foreign_model_has_its_shape_and_tokenizer(self) -> Self:
        if self.start is None:
            return self
        set_too = [f"pretrain.{name}" for name in SHAPE if name in self.pretrain.model_fields_set]
        if set_too:
            raise ValueError(
                f"{', '.join(set_too)} is set, but the model of [start] has its shape already: leave it out"
            )
        if self.vocabulary.tokenizer is not None:
            raise ValueError(
                "vocabulary.tokenizer is set, but the model of [start] brings its own: leave it out; "
                "vocabulary.extend gives it more pieces"
            )
        return self

    @model_validator(mode="after")
    def what_is_kept_in_mind_was_known(self) -> Self:
        if self.pretrain.general is not None and self.start is None:
            raise ValueError(
                "pretrain.general is set, and training begins from nothing, which knows no text: name the "
                'model in [start], such as model = "quickstart/base", or leave it out'
            )
        return self

    @model_validator(mode="after")
    def what_asks_for_resources_is_a_stage(self) -> Self:
        known = sorted({kind.stage for kind in _kinds(Artifact) if hasattr(kind, "stage")})
        for stage in self.compute.stages:
            if stage not in known:
                near = difflib.get_close_matches(stage, known, n=1)
                raise ValueError(
                    f"compute.stages names {stage!r}, and there is no such stage"
                    + (f"; did you mean {near[0]!r}?" if near else f": there are {', '.join(known)}")
                )
        return self

    @model_validator(mode="after")
    def what_is_mixed_is_there(self) -> Self:
        mixture, there = self.pretrain.mixture, names_of(self.tokens.texts)
        unknown = sorted(mixture.named() - set(there)) if mixture is not None else []
        if unknown:
            known = f"there is {', '.join(there)}" if there else "all documents are one text"
            raise ValueError(
                f"pretrain.mixture names {', '.join(unknown)}, and {known}: add a [[tokens.texts]] of that "
                "name, or leave it out of the mixture"
            )
        if there and self.pretrain.general is not None:
            raise ValueError(
                "tokens.texts and pretrain.general are both set: a training mixes the one or the other"
            )
        return self

    @model_validator(mode="after")
    def more_pieces_have_a_tokenizer(self) -> Self:
        if self.vocabulary.extend and self.start is None and self.vocabulary.tokenizer is None:
            raise ValueError(
                f"vocabulary.extend is {self.vocabulary.extend}, but there is no tokenizer to extend: name "
                "one in vocabulary.tokenizer or a model in [start], or set vocabulary.pieces"
            )
        return self

    @property
    def settings_of_pretraining(self) -> PretrainConfig:
        """The settings of pretraining, with the defaults for going on from a model if there is one."""
        return self.pretrain if self.start is None else continuing(self.pretrain)

    def with_start(self) -> Self:
        """The same configuration with what the model that is gone on from decides, as far as it is on this
        machine. Raises UnknownStartError, ForeignModelError."""
        if self.start is None:
            return self
        start = begin(PlanningStore(self.compute.store), self.start)
        known = start.foreign if start is not None else None
        pretrain = continuing(self.pretrain).knowing(known, None, self.tokens.row_tokens)
        return self.model_copy(update={"pretrain": pretrain})

    @model_validator(mode="after")
    def batch_holds_whole_rows(self) -> Self:
        batch, row = self.settings_of_pretraining.resolved()["batch_tokens"], self.tokens.row_tokens
        if batch is not None and batch % row:
            fit = max(1, batch // row) * row
            raise ValueError(
                f"pretrain.batch_tokens is {batch}, not a multiple of tokens.row_tokens ({row}); try {fit}"
            )
        return self


def _kinds(kind: type[Artifact]) -> Iterator[type[Artifact]]:
    """The kinds of artifacts below it."""
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)


class SweptStartError(InputError):
    """A sweep was asked for of a training that goes on from a foreign model."""

    remedy = "Leave out [start]."


@dataclass(frozen=True)
class WayToBase:
    """What a base model comes from, and the model."""

    corpus: Corpus
    vocabulary: Vocabulary
    tokens: Tokens
    base: Model


@dataclass(frozen=True)
class WayToChat(WayToBase):
    """The same, and the chat model that it became."""

    conversations: Conversations
    chat: Model


@dataclass(frozen=True)
class Road:
    """What a run leaves behind for its user."""

    base: Model
    chat: Model | None = None
    scores: Scores | None = None
    aligned: tuple[Model, ...] = ()
    comparison: Comparison | None = None


def web_to_pages(
    config: WebToModel, store: Store, compute: Compute, ahead: Callable[[Pages], Ahead] | None = None
) -> Pages:
    """From archives, if the configuration names some; otherwise crawled, from the web or the own site, while
    `ahead` works on what is there already."""
    if config.ingest is not None:
        return ingest(store, config.ingest, compute)
    site = build_site(store, config.site, compute) if config.site and not config.crawl.names_seeds else None
    return crawl(store, site, config.crawl, compute, ahead)


def web_to_corpus(config: WebToModel, store: Store, compute: Compute) -> Corpus:
    """Crawl and take in, extract, clean, hold out."""
    sources = take_in(store, config.sources, compute)

    def ahead(pages: Pages) -> ExtractionAhead:
        raw = raw_documents(store, pages, sources, config.extract)
        return ExtractionAhead(raw, config.extract, compute)

    overlaps = compute.config.overlaps
    pages = (
        None if config.sources_alone else web_to_pages(config, store, compute, ahead if overlaps else None)
    )
    raw = extract(store, pages, sources, config.extract, compute)
    classifier = train_classifier(store, config.classifier, compute)
    documents = clean(store, raw, config.clean, compute, classifier)
    return hold_out(store, documents, config.hold_out, compute)


def web_to_comparison(config: WebToModel, store: Store, compute: Compute) -> VocabularyComparison:
    """The kinds of vocabulary compared on the corpus, each with the settings of [vocabulary]."""
    start = begin(store, config.start)
    corpus = web_to_corpus(config, store, compute)
    settings = vocabulary_settings(config.vocabulary, config.start, start)
    return compare_vocabularies(store, corpus, ComparisonConfig(vocabulary=settings))


def web_to_sweep(config: WebToModel, store: Store, compute: Compute) -> Sweep:
    """Many small trainings on the tokens of the run, compared. Raises SweptStartError."""
    if config.start is not None:
        raise SweptStartError(
            f"[start] names {config.start.model}, and the trials of a sweep all begin from nothing, at "
            "shapes of their own; leave out [start], or compare whole runs with rates set by hand"
        )
    corpus = web_to_corpus(config, store, compute)
    vocabulary = train_vocabulary(store, corpus, config.vocabulary)
    tokens = tokenize(store, corpus, vocabulary, config.tokens, compute)
    return sweep(store, tokens, vocabulary, SweepPlan(pretrain=config.pretrain, sweep=config.sweep), compute)


def web_to_model(config: WebToModel, store: Store, compute: Compute) -> Road:
    """Crawl, clean, tokenize, pretrain, fine-tune, evaluate; align and assess. What is in the store already
    is reused."""
    check_given(config)
    if not config.chats:
        return Road(web_to_base(config, store, compute).base)
    made = web_to_chat(config, store, compute)
    scores = evaluate_chat(config, store, made, compute)
    aligned = align(config, store, made.chat, made.conversations, compute)
    models = (made.base, made.chat, *aligned.models)
    comparison = assess_all(
        config,
        store,
        models,
        aligned.reward,
        scores,
        made.tokens,
        made.vocabulary,
        made.conversations,
        compute,
    )
    return Road(made.base, made.chat, scores, aligned.models, comparison)


def web_to_base(config: WebToModel, store: Store, compute: Compute) -> WayToBase:
    """The road's beginning, as far as the base model."""
    start = begin(store, config.start)
    if start is not None and start.foreign is not None:
        require_context(start.foreign, config.tokens.row_tokens)
    corpus = web_to_corpus(config, store, compute)
    vocabulary = vocabulary_for(store, corpus, config.vocabulary, config.start, start)
    tokens = tokenize(store, corpus, vocabulary, config.tokens, compute)
    describe(store, tokens, corpus, config.card, compute)
    general = general_text(store, config.pretrain.general, vocabulary, config.tokens, compute)
    base = pretrain(store, tokens, vocabulary, config.settings_of_pretraining, compute, start, general)
    require_kept(store, base, config.pretrain.general)
    return WayToBase(corpus, vocabulary, tokens, base)


def web_to_chat(config: WebToModel, store: Store, compute: Compute) -> WayToChat:
    """The same as far as the chat model."""
    made = web_to_base(config, store, compute)
    conversations = write_conversations(store, made.corpus, config.conversations, compute)
    chat = finetune(store, made.base, conversations, config.finetune, compute)
    return WayToChat(made.corpus, made.vocabulary, made.tokens, made.base, conversations, chat)


def evaluate_chat(config: WebToModel, store: Store, made: WayToChat, compute: Compute) -> Scores:
    """What base and chat model are worth."""
    return evaluate(
        store,
        made.corpus,
        made.tokens,
        made.vocabulary,
        made.conversations,
        made.base,
        made.chat,
        config.evaluate,
        compute,
    )
