import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.compute import Compute
from pipeline.evaluation import assess_report
from pipeline.evaluation.assess import AssessConfig, Assessment, assess, form_of
from pipeline.evaluation.compare import CompareConfig, Comparison, ReferenceMissingError, compare
from pipeline.evaluation.evaluate import Scores
from pipeline.evaluation.held_out import cut_pieces, documents_schema
from pipeline.evaluation.instructions.settings import InstructionsConfig
from pipeline.evaluation.judges import function_judge
from pipeline.evaluation.likelihood import nats_of_pieces
from pipeline.evaluation.tasks.settings import TasksConfig
from pipeline.models.model import Model
from pipeline.store import Attempt, Made, PlanningStore, Store
from pipeline.tokens.encode import Tokens
from pipeline.tokens.vocabulary import Vocabulary
from tests.evaluation.stand_ins import (
    Documents,
    NoConfig,
    SmallConversations,
    SmallModel,
    publish_model,
    random_model,
)
from tests.tokens.texts import PORTUGUESE

CONFIG = AssessConfig(
    questions=4,
    max_answer_tokens=8,
    timed_questions=1,
    bias_languages=("en",),
    stretches=6,
    prefix_tokens=8,
    continued_tokens=8,
    tasks=TasksConfig(names=("arithmetic",), languages=("en",), shots=(0, 1), items=4),
    instructions=InstructionsConfig(languages=("en",), items=2, answer_tokens=8),
)
RULES = """
def shorter(prompt, answer, ended, tokens, **row):
    return -len(answer)
"""


class SmallChat(SmallModel):
    stage, role = "finetune", "chat"


@pytest.fixture(scope="module")
def held_out_text(evaluation_store: Store, documents: Documents) -> Scores:
    """As `evaluate` leaves it: the held-out documents without what training repeats."""

    def build(attempt: Attempt) -> Made:
        texts = [*(("en", text[:2000]) for _, text in documents[:4]), ("pt", PORTUGUESE)]
        rows = [
            {
                "id": f"d{number}",
                "url": f"http://docs.moinho.test/topic{number % 2}/{number}",
                "language": language,
                "text": text,
            }
            | dict.fromkeys(("bytes", "kept_bytes", "passages", "kept_passages"), 0)
            for number, (language, text) in enumerate(texts)
        ]
        path = attempt.path("held-out.parquet")
        pq.write_table(pa.Table.from_pylist(rows, schema=documents_schema()), path)
        return Made({"held-out.parquet": attempt.publish(path)})

    return evaluation_store.make(Scores, NoConfig(), {}, build)


@pytest.fixture(scope="module")
def small_chat(evaluation_store: Store, small_vocabulary: Vocabulary) -> Model:
    """Other random weights than the base model's."""
    return publish_model(evaluation_store, random_model(1024, width=48), small_vocabulary, SmallChat)


@pytest.fixture(scope="module")
def assessments(
    evaluation_store: Store,
    held_out_text: Scores,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_conversations: SmallConversations,
    small_model: SmallModel,
    small_chat: Model,
    compute: Compute,
) -> list[Assessment]:
    return [
        assess(
            evaluation_store,
            model,
            small_model,
            held_out_text,
            small_tokens,
            small_vocabulary,
            small_conversations,
            CONFIG,
            compute,
        )
        for model in (small_model, small_chat)
    ]


def test_bits_per_byte_are_those_of_the_held_out_text_by_language_and_place(
    assessments: list[Assessment],
    held_out_text: Scores,
    small_vocabulary: Vocabulary,
    small_model: SmallModel,
) -> None:
    rows = pq.read_table(held_out_text.path("held-out.parquet")).to_pylist()
    pieces = cut_pieces(rows, small_vocabulary, row_tokens=64)
    nats = nats_of_pieces(small_model.load()[0], [piece["ids"] for piece in pieces])
    found = assessments[0].content()["likelihood"]
    assert set(found["language"]) == {"all", "en", "pt"}
    assert set(found["domain"]) == {"topic0", "topic1"}
    for language, estimate in found["language"].items():
        own = [at for at, piece in enumerate(pieces) if language in ("all", piece["language"])]
        size = sum(len(pieces[at]["text"]) for at in own)
        bits = sum(nats[at] for at in own) / math.log(2)
        assert estimate["value"] == pytest.approx(bits / size, rel=1e-4)


def test_base_and_chat_model_have_figures_of_the_same_names(assessments: list[Assessment]) -> None:
    base, chat = assessments
    assert (base.role, chat.role) == ("assessment-base", "assessment-chat")
    assert set(base.record.figures) == set(chat.record.figures)
    assert {
        "likelihood.language.all",
        "tasks.arithmetic.en.0.accuracy",
        "bias.en.gender.gap",
        "memorization.extracted_share",
        "writing.ended_share",
        "instructions.en.prompts",
        "writing.latency.first_token_ms",
    } <= set(base.record.figures)
    assert base.content()["model"]["form"] == "text"
    assert chat.content()["model"]["form"] == "chat"


def test_the_page_and_the_plots_are_there(assessments: list[Assessment]) -> None:
    for made in assessments:
        page = made.path("report.html").read_text()
        assert made.content()["answers"][0]["question"] in page
        assert {"plots/bias.png", "plots/likelihood.png", "plots/writing.png"} <= set(made.names("plots/"))
        assert len(pq.read_table(made.path("answers.parquet"))) == 4


def test_an_assessment_that_failed_at_its_end_measures_nothing_again(
    evaluation_store: Store,
    held_out_text: Scores,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    small_model: SmallModel,
    compute: Compute,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CONFIG.model_copy(
        update={
            "seed": 1,
            "tasks": TasksConfig(names=()),
            "instructions": InstructionsConfig(languages=()),
        }
    )

    def made() -> Assessment:
        return assess(
            evaluation_store,
            small_model,
            small_model,
            held_out_text,
            small_tokens,
            small_vocabulary,
            None,
            config,
            compute,
        )

    with monkeypatch.context() as patch:
        patch.setattr(assess_report, "put_together", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made()
    found = made()
    shards = f"{found.base}/shards/measure"
    paths = [
        file["path"]
        for name in evaluation_store.storage.list(shards)
        for file in json.loads(evaluation_store.storage.read(f"{shards}/{name}"))["files"].values()
    ]
    assert paths
    assert not any(found.record.attempt in path for path in paths)
    assert found.content()["writing"] == {}
    assert "Likelihood of unseen text" in found.path("report.html").read_text()


def test_models_are_compared_by_a_function_of_the_users(
    evaluation_store: Store, assessments: list[Assessment], compute: Compute, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(RULES)
    judge = function_judge(f"{rules}:shorter", "compare.judge")
    config = CompareConfig(reference="base")
    found = compare(evaluation_store, assessments, [judge], config, compute)
    base, chat = (pq.read_table(made.path("answers.parquet")).to_pylist() for made in assessments)
    lengths = [(len(one["answer"]), len(other["answer"])) for one, other in zip(chat, base, strict=True)]
    won = sum(1.0 if one < other else 0.5 if one == other else 0.0 for one, other in lengths)
    judged = found.content()["judges"]["shorter"]["chat"]
    assert judged["win_rate"]["value"] == won / len(lengths)
    assert found.record.figures["win_rate.shorter.chat"] == won / len(lengths)
    assert "shorter" in found.path("comparison.html").read_text()
    rules.write_text(RULES + "\n# another file\n")
    other = function_judge(f"{rules}:shorter", "compare.judge")
    planned = compare(PlanningStore(evaluation_store.storage.root), assessments, [other], config, compute)
    assert isinstance(planned, Comparison)
    assert planned.key != found.key


def test_a_reference_that_is_not_there_is_refused(
    evaluation_store: Store, assessments: list[Assessment], compute: Compute
) -> None:
    with pytest.raises(ReferenceMissingError, match="what is compared is base, chat"):
        compare(evaluation_store, assessments, [], CompareConfig(reference="dpo"), compute)


def test_a_plan_needs_nothing_made(
    evaluation_store: Store,
    held_out_text: Scores,
    small_tokens: Tokens,
    small_vocabulary: Vocabulary,
    compute: Compute,
) -> None:
    planning = PlanningStore(evaluation_store.storage.root)
    unmade = SmallChat(planning.storage, "0" * 16)
    found = assess(
        planning, unmade, unmade, held_out_text, small_tokens, small_vocabulary, None, CONFIG, compute
    )
    assert not found.exists()
    assert form_of(unmade) == "chat"
    assert compare(planning, [found], [], CompareConfig(), compute).key
