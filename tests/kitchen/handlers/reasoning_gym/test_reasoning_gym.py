"""The tasks of reasoning-gym: rows that can be repeated, a held-out split that is held out, verifiers that never break a run."""

import sys
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from crucible.effects import Failure, decode, encode, perform
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import reasoning_gym
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator
from crucible.testing import check_dataset_store, check_evaluator
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.supervised import conversation_of
from crucible.train.types import DatasetConfig, Row

TASKS = ("chain_sum", "basic_arithmetic", "gcd", "spell_backward", "syllogism", "maze", "coin_flip", "leg_counting")
WITHOUT_ANSWERS = ("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour")
TEMPTING = ("", " ", "None", "I do not know.", "1/0", "[[1, 2", "((((", "nan", "1e999", "9" * 5000, "∞", "<answer>")


def rows_of(name: str, *, split: str = "train", **options: Any) -> tuple[Row, ...]:
    config = DatasetConfig(name=name, split=split, options={"size": 20, **options})
    reading = perform(DatasetStore.load_dataset, config).bind(lambda data: perform(DatasetStore.read_rows, data))
    return reasoning_gym.datasets().run(reading).unwrap()


def refusal(config: DatasetConfig) -> TrainError:
    return reasoning_gym.datasets().run(perform(DatasetStore.load_dataset, config)).failure()


def judged(name: str, answers: Mapping[str, Row] | list[tuple[str, Row]]) -> EvaluationReport:
    pairs = answers.items() if isinstance(answers, Mapping) else answers
    examples = tuple(AnsweredRow(row=row, answer=answer, expected="") for answer, row in pairs)
    request = EvaluationRequest(dataset=name, examples=examples, metrics=("accuracy", "mean_score"))
    return reasoning_gym.verifier().run(perform(Evaluator.evaluate, request)).unwrap()


def test_the_contract_of_a_dataset_store() -> None:
    config = DatasetConfig(name="chain_sum", options={"size": 30})
    check_dataset_store(reasoning_gym.datasets, config=config, other_split="test", missing="chain_some")


def test_the_contract_of_an_evaluator() -> None:
    rows = rows_of("chain_sum")[:4]
    right = [AnsweredRow(row=row, answer=f" {row['answer']}\n", expected=str(row["answer"])) for row in rows]
    wrong = [attrs.evolve(one, answer="no idea") for one in right]
    check_evaluator(reasoning_gym.verifier, right=right, wrong=wrong, dataset="chain_sum")


class TestRows:
    @pytest.mark.parametrize("name", TASKS)
    def test_are_the_same_each_time_and_end_with_the_reference_answer(self, name: str) -> None:
        rows = rows_of(name)
        assert rows == rows_of(name)
        assert len(rows) == 20
        for row in rows:
            user, assistant = conversation_of(row).unwrap()
            assert (user.content, assistant.content) == (row["question"], row["answer"])

    @pytest.mark.parametrize("name", TASKS)
    def test_can_be_kept_in_a_journal(self, name: str) -> None:
        assert decode(encode(rows_of(name))) == rows_of(name)

    @pytest.mark.parametrize("name", ["chain_sum", "gcd", "coin_flip"])
    def test_of_the_test_split_were_never_seen(self, name: str) -> None:
        seen = {row["question"] for row in rows_of(name, size=300)}
        held_out = rows_of(name, split="test", size=300)
        assert seen.isdisjoint(row["question"] for row in held_out)
        assert held_out == rows_of(name, split="test", size=300)

    def test_that_stand_in_both_splits_are_left_out_of_the_test_split(self) -> None:
        few: dict[str, Any] = {"size": 300, "min_terms": 2, "max_terms": 2, "max_digits": 1, "allow_negation": False}
        seen = {row["question"] for row in rows_of("chain_sum", **few)}
        held_out = rows_of("chain_sum", split="test", **few)
        assert 0 < len(held_out) < 300
        assert seen.isdisjoint(row["question"] for row in held_out)

    @pytest.mark.parametrize("seed", [1, 2, 7])
    def test_of_neighbouring_seeds_are_others(self, seed: int) -> None:
        """In the library itself row i of seed s is row i - 1 of seed s + 1."""
        drawn = [{row["question"] for row in rows_of("chain_sum", seed=one)} for one in (seed - 1, seed)]
        assert drawn[0].isdisjoint(drawn[1])

    def test_of_a_task_for_numpy_take_any_seed(self) -> None:
        assert len(rows_of("pool_matrix", seed=123_456)) == 20

    @pytest.mark.parametrize("name", WITHOUT_ANSWERS)
    def test_without_a_reference_answer_teach_nothing(self, name: str) -> None:
        for row in rows_of(name, size=2):
            assert row["answer"] is None
            assert [message.role for message in conversation_of(row).unwrap()] == ["user"]


class TestTheVerifier:
    @pytest.mark.parametrize("name", TASKS)
    def test_takes_every_reference_answer_and_no_other(self, name: str) -> None:
        rows = rows_of(name)
        right = judged(name, [(str(row["answer"]), row) for row in rows])
        assert right.metrics == {"accuracy": 1.0, "mean_score": 1.0}
        wrong = judged(name, [("certainly not", row) for row in rows])
        assert wrong.metrics["accuracy"] == 0.0
        assert all(score < 0.5 for score in wrong.scores)

    def test_reports_the_share_in_the_order_of_the_examples(self) -> None:
        rows = rows_of("gcd")[:4]
        answers = [(str(row["answer"]) if index % 2 else "-1", row) for index, row in enumerate(rows)]
        report = judged("gcd", answers)
        assert report.metrics["accuracy"] == 0.5
        assert [score == 1.0 for score in report.scores] == [False, True, False, True]

    @pytest.mark.parametrize("name", [*TASKS, "prime_factorization", "boxnet", "rush_hour"])
    def test_never_breaks_a_run_whatever_a_model_answers(self, name: str) -> None:
        row = rows_of(name, size=1)[0]
        report = judged(name, [(answer, row) for answer in TEMPTING])
        assert all(0.0 <= score <= 1.0 for score in report.scores)

    def failure(self, request: EvaluationRequest) -> KitchenError:
        return reasoning_gym.verifier().run(perform(Evaluator.evaluate, request)).failure()

    def test_refuses_rows_of_another_kind_and_names_the_first(self) -> None:
        good = AnsweredRow(row=rows_of("gcd")[0], answer="1", expected="1")
        bare = AnsweredRow(row={"prompt": "?"}, answer="1", expected="1")
        error = self.failure(EvaluationRequest(dataset="gcd", examples=(good, bare)))
        assert isinstance(error, InvalidRequest)
        assert error.index == 1
        assert "answer, metadata, question" in error.fix

    def test_refuses_a_task_that_it_does_not_know(self) -> None:
        row = AnsweredRow(row=rows_of("gcd")[0], answer="1", expected="1")
        error = self.failure(EvaluationRequest(dataset="gdc", examples=(row,)))
        assert isinstance(error, NotFound)
        assert "gcd" in str(error)


class TestWrongConfigurations:
    def test_a_misspelt_task_is_told_the_nearest(self) -> None:
        error = refusal(DatasetConfig(name="chain_summ"))
        assert isinstance(error, NotFound)
        assert (error.kind, error.name) == ("task", "chain_summ")
        assert "did you mean chain_sum" in str(error)

    def test_a_task_unlike_any_other(self) -> None:
        assert "reasoning_gym.tasks()" in str(refusal(DatasetConfig(name="zzzzzz")))
        assert {"chain_sum", "gcd"} <= set(reasoning_gym.tasks())

    def test_an_unknown_split(self) -> None:
        error = refusal(DatasetConfig(name="gcd", split="validation"))
        assert isinstance(error, NotFound)
        assert str(error) == "split 'gcd/validation' was not found: the splits are train, test"

    @pytest.mark.parametrize("options", [{"sise": 3}, {"size": "many"}, {"min_numbers": 5, "max_numbers": 2}])
    def test_options_that_the_task_does_not_take(self, options: dict[str, object]) -> None:
        error = refusal(DatasetConfig(name="gcd", options=options))
        assert isinstance(error, InvalidRequest)
        assert next(iter(options)) in str(error)

    @pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
    def test_a_seed_that_is_no_whole_number_from_zero_on(self, seed: object) -> None:
        error = refusal(DatasetConfig(name="gcd", options={"seed": seed}))
        assert isinstance(error, InvalidRequest)
        assert "seed must be a whole number from 0 on" in str(error)

    def test_a_library_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "reasoning_gym", None)
        assert refusal(DatasetConfig(name="gcd")) == MissingExtra(extra="demo", package="reasoning-gym")
        request = EvaluationRequest(dataset="gcd", examples=(AnsweredRow(row=ROW, answer="1", expected="1"),))
        result = reasoning_gym.verifier().run(perform(Evaluator.evaluate, request))
        assert isinstance(result, Failure)
        assert "pip install 'crucible-llm[demo]'" in str(result.failure())


ROW: Row = {"question": "?", "answer": "1", "metadata": {}}
