"""Each workflow learns with real gradients: on torch, a tiny random model gets better at what it is trained for."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Never, TypeAlias

import attrs
import pytest

from crucible.effects import Do, Eff, Handlers, do, perform, pure
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.handlers import noop, torch
from crucible.kitchen.handlers.noop import Blobs, EveryPort
from crucible.kitchen.ports import Exchange, ExportOptions, FeedbackClient, TriggerThresholds
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.feedback import FeedbackConfig
from crucible.kitchen.stages.preference import PreferenceConfig, PreferenceLossName
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import (
    distillation,
    distillation_forward_kl,
    feedback_loop,
    preference,
    reinforcement,
    reinforcement_async,
    supervised,
)
from crucible.telemetry.events import (
    DistillationEvaluated,
    DistillationStep,
    EvaluationCompleted,
    PreferencesEvaluated,
    RolloutCompleted,
    TrainingStep,
)
from crucible.train.environments import ProblemEnv
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient
from crucible.train.renderers import ChatTemplateRenderer, Renderer
from crucible.train.types import (
    AdamParams,
    DatasetConfig,
    LoraConfig,
    Message,
    ModelInput,
    Row,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    text_of,
)
from tests.kitchen.handlers.torch.tiny import save_tiny
from tests.kitchen.workflows.runs import ran

LORA = LoraConfig(rank=8, seed=1)
ROWS: tuple[Row, ...] = tuple({"prompt": f"{i}+1?", "completion": f"{i + 1}."} for i in range(6))
Said: TypeAlias = list[tuple[str, float]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Save two tiny models with one tokenizer: the one that learns, and a teacher."""
    return tuple(save_tiny(tmp_path_factory.mktemp("model"), seed=seed) for seed in (0, 1))  # type: ignore[return-value]  # two of two


def on_torch(root: Path, rows: Sequence[Row] = ROWS, *, held: Blobs | None = None) -> Handlers[EveryPort]:
    blobs = held or Blobs()
    data = noop.datasets(rows={"train": rows, "test": rows}, blobs=blobs)
    return noop.all(held=blobs) | data | torch.local(root, num_threads=1)


# The feedback loop


EXCHANGES = tuple(
    Exchange(id=word, prompt=f"What is a {word}?", response="well", edited_response=f"{word}!", score=0.9)
    for word in ("cat", "song", "tree")
)


@do
def answers(model: str, weights: str | None, exchanges: Sequence[Exchange]) -> Do[TrainError, SamplingClient, Said]:
    """Ask a model each prompt: its greedy answer, and the log-probability it gives a token of the user's."""
    session = yield from perform(SamplingClient.start_session, SamplingConfig(model=model, weights_path=weights))
    tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
    renderer = ChatTemplateRenderer(tokenizer)
    said: Said = []
    for exchange in exchanges:
        prompt = renderer.generation_prompt([Message(role="user", content=exchange.prompt)]).unwrap()
        params = SamplingParams(max_tokens=12, temperature=0.0)
        [[sample]] = yield from perform(SamplingClient.sample, session, [prompt], params)
        wanted = tokenizer.encode(exchange.best_response)
        whole = ModelInput.from_tokens((*prompt.tokens, *wanted))
        [logprobs] = yield from perform(SamplingClient.compute_logprobs, session, [whole])
        likely = fmean(logprob or 0.0 for logprob in logprobs[-len(wanted) :])
        said.append((text_of(renderer.parse_response(sample.tokens).message), likely))
    yield from perform(SamplingClient.close_session, session)
    return said


def test_a_feedback_loop_teaches_the_model_what_its_users_wrote_and_then_rests(
    models: tuple[str, str], tmp_path: Path
) -> None:
    model, held = models[0], Blobs()
    handlers = on_torch(tmp_path, held=held) | noop.feedback(exchanges={"bot": EXCHANGES}, blobs=held)
    config = FeedbackConfig(
        deployment_id="bot",
        export=ExportOptions(path="feedback/today.jsonl"),
        thresholds=TriggerThresholds(num_examples=2),
        retraining=SupervisedConfig(
            session=SessionConfig(model=model, lora=LORA),
            dataset=DatasetConfig(name="replaced"),
            evaluation=EvaluationConfig(dataset=DatasetConfig(name="said", split="test"), max_tokens=12),
            epochs=40,
            batch_size=3,
            learning_rate=1e-2,
            save_every=40,
        ),
    )
    said: tuple[Row, ...] = tuple({"prompt": one.prompt, "completion": one.best_response} for one in EXCHANGES)
    handlers = handlers | noop.datasets(rows={"test": said}, blobs=held)
    before = handlers.run(answers(model, None, EXCHANGES)).unwrap()
    run = ran(handlers, feedback_loop(Context.start(config)))
    trained = run.outcome.unwrap().state.trained
    assert trained is not None
    assert trained.final_weights is not None
    after = handlers.run(answers(model, trained.final_weights.path, EXCHANGES)).unwrap()
    assert [text for text, _ in after] == [exchange.edited_response for exchange in EXCHANGES]
    assert all(likelier > likely + 1 for (_, likely), (_, likelier) in zip(before, after, strict=True))
    assert [event.metrics["accuracy"] for event in run.events(EvaluationCompleted)] == [0.0, 1.0]
    assert handlers.run(perform(FeedbackClient.check_triggers, "bot", config.thresholds)).unwrap() == ()

    assert trained.checkpoint is not None  # from which the next retraining goes on, with the next feedback
    retraining = attrs.evolve(config.retraining, epochs=1, start_from=trained.checkpoint.path)
    again = attrs.evolve(config, retraining=retraining, curation=attrs.evolve(config.curation, include_trained=True))
    more = handlers | noop.feedback(exchanges={"bot": EXCHANGES}, blobs=held)
    losses = [step.loss for step in ran(more, feedback_loop(Context.start(again))).events(TrainingStep)]
    assert losses[0] < 0.3 * run.events(TrainingStep)[0].loss


# The others


def test_preference_learning_ranks_the_pairs_and_the_answers_are_measured_too(
    models: tuple[str, str], tmp_path: Path
) -> None:
    pairs: tuple[Row, ...] = tuple({"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(6))
    asked = tuple({"prompt": row["prompt"], "completion": row["chosen"], **row} for row in pairs)
    test = DatasetConfig(name="pairs", split="test")
    config = PreferenceConfig(
        session=SessionConfig(model=models[0], lora=LORA),
        dataset=DatasetConfig(name="pairs"),
        held_out=test,
        evaluation=EvaluationConfig(dataset=test, num_examples=2, max_tokens=2),
        epochs=4,
        batch_size=6,
        learning_rate=5e-3,
        eval_every=2,
    )
    run = ran(on_torch(tmp_path, asked), preference(Context.start(config)))
    run.outcome.unwrap()
    ranked = run.events(PreferencesEvaluated)
    assert [event.step for event in ranked] == [event.step for event in run.events(EvaluationCompleted)] == [0, 2, 4]
    assert ranked[0].metrics["margin"] == pytest.approx(0.0, abs=1e-2)
    assert ranked[-1].metrics["margin"] > ranked[1].metrics["margin"] > 0.1
    assert ranked[-1].metrics["accuracy"] == 1.0


QUESTION, YES = {"role": "user", "content": "ok?"}, {"role": "assistant", "content": "yes"}


def judged(number: int) -> Row:
    """Make a row whose completions end in a verdict: the better answer is the one that says yes."""
    said = {"chosen": f"yes {number}", "rejected": f"no {number}"}
    ends = {side: [{"role": "assistant", "content": text}, QUESTION, YES] for side, text in said.items()}
    return {"prompt": f"{number}?", **ends}


@pytest.mark.parametrize(("loss", "beta"), [("kto", 0.5), ("bradley_terry", 1.0)])
def test_single_answers_and_verdicts_teach_to_rank_held_out_pairs(
    loss: PreferenceLossName, beta: float, models: tuple[str, str], tmp_path: Path
) -> None:
    plain: list[Row] = [{"prompt": f"{i}?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(16)]
    rows = plain if loss == "kto" else [judged(number) for number in range(16)]
    config = PreferenceConfig(
        session=SessionConfig(model=models[0], lora=LORA),
        dataset=DatasetConfig(name="pairs"),
        held_out=DatasetConfig(name="pairs", split="test"),
        loss=loss,
        beta=beta,
        epochs=8,
        batch_size=6,
        learning_rate=1e-2,
    )
    handlers = on_torch(tmp_path) | noop.datasets(rows={"train": rows[:12], "test": rows[12:]})
    run = ran(handlers, preference(Context.start(config)))
    run.outcome.unwrap()
    before, after = run.events(PreferencesEvaluated)
    assert after.metrics["accuracy"] == 1.0
    assert after.metrics["margin"] > before.metrics["margin"] + 0.3
    assert after.metrics["loss"] < before.metrics["loss"]


def broken_bytes(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Never], Never, Never]:
    """Make an environment in which an answer that is no text is right."""
    asked = (Message(role="user", content=str(row["prompt"])),)
    return pure(
        ProblemEnv(messages=asked, renderer=renderer, score=lambda text: pure(float("\ufffd" in text)), format_coef=0.0)
    )


@pytest.mark.parametrize("workflow", [reinforcement(broken_bytes), reinforcement_async(broken_bytes)])
def test_reinforcement_raises_the_reward(workflow: type, models: tuple[str, str], tmp_path: Path) -> None:
    config = ReinforcementConfig(
        session=SessionConfig(model=models[0], lora=LORA),
        dataset=DatasetConfig(name="riddles"),
        epochs=12,
        batch_size=6,
        group_size=8,
        max_tokens=1,
        learning_rate=1e-2,
        schedule="constant",
        adam=AdamParams(),
    )
    run = ran(on_torch(tmp_path), workflow(Context.start(config)))
    rewards = [event.metrics["reward_mean"] for event in run.events(RolloutCompleted)]
    assert len(rewards) == 12
    assert fmean(rewards[-3:]) > fmean(rewards[:3]) + 0.3
    assert [folder.name for folder in (tmp_path / "weights").iterdir()] == ["final_weights"]  # of 13 versions


def a_teacher_of_sums(model: str, handlers: Handlers[EveryPort]) -> SamplingConfig:
    """Train the same model on the answers."""
    config = SupervisedConfig(
        session=SessionConfig(model=model, lora=LORA),
        dataset=DatasetConfig(name="sums"),
        epochs=8,
        batch_size=6,
        learning_rate=5e-3,
    )
    weights = handlers.run(supervised(Context.start(config))).unwrap().state.final_weights
    assert weights is not None
    return SamplingConfig(model=model, weights_path=weights.path)


def test_on_policy_distillation_lowers_the_kl_to_the_teacher(models: tuple[str, str], tmp_path: Path) -> None:
    handlers = on_torch(tmp_path)
    config = DistillationConfig(
        session=SessionConfig(model=models[0], lora=LORA),
        dataset=DatasetConfig(name="lessons"),
        teachers=(a_teacher_of_sums(models[0], handlers),),
        epochs=10,
        batch_size=6,
        group_size=8,
        max_tokens=2,
        learning_rate=1e-2,
        schedule="constant",
        adam=AdamParams(),
    )
    steps = ran(handlers, distillation(Context.start(config))).events(DistillationStep)
    kl = [step.metrics["teacher_kl"] for step in steps]
    assert fmean(kl[-2:]) < 0.5 * kl[0]


def test_the_forward_kl_lowers_the_kl_to_the_teacher_on_held_out_prompts(
    models: tuple[str, str], tmp_path: Path
) -> None:
    rows: tuple[Row, ...] = tuple({"prompt": f"{i}+1?", "completion": f"{i + 1}."} for i in range(12))
    held_out: tuple[Row, ...] = tuple({"prompt": f"{i}+1?", "completion": f"{i + 1}."} for i in range(20, 52))
    handlers = on_torch(tmp_path, rows) | noop.datasets(rows={"train": rows, "test": held_out})
    config = DistillationConfig(
        session=SessionConfig(model=models[0], lora=LORA),
        dataset=DatasetConfig(name="lessons"),
        teachers=(a_teacher_of_sums(models[0], handlers),),
        evaluation=EvaluationConfig(dataset=DatasetConfig(name="lessons", split="test"), num_examples=32, max_tokens=3),
        epochs=8,
        batch_size=6,
        max_tokens=3,
        learning_rate=5e-3,
        num_top=12,
    )
    run = ran(handlers, distillation_forward_kl(Context.start(config)))
    run.outcome.unwrap()
    kl = [step.metrics["teacher_kl"] for step in run.events(DistillationStep)]
    before, after = run.events(DistillationEvaluated)
    assert len(kl) == 16
    assert fmean(kl[-2:]) < 0.3 * kl[0]
    assert after.metrics["teacher_kl"] < 0.5 * before.metrics["teacher_kl"]


def test_off_policy_distillation_lowers_the_loss_on_what_the_teacher_said(
    models: tuple[str, str], tmp_path: Path
) -> None:
    student, teacher = models
    config = DistillationConfig(
        session=SessionConfig(model=student, lora=LORA),
        dataset=DatasetConfig(name="lessons"),
        teachers=(SamplingConfig(model=teacher),),
        mode="off_policy",
        epochs=8,
        batch_size=6,
        max_tokens=6,
        learning_rate=1e-2,
    )
    losses = [step.loss for step in ran(on_torch(tmp_path), distillation(Context.start(config))).events(TrainingStep)]
    assert losses[-1] < 0.8 * losses[0]
