"""Scores that need a model or a sandbox, on handlers that say what they are told to."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers import noop
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError, Unavailable
from crucible.train.ports import CodeClient, EmbeddingClient, LLMClient
from crucible.train.scoring import (
    CodeCase,
    Rubric,
    Submission,
    UnreadableVerdict,
    Verdict,
    both_of,
    code_score,
    cosine,
    either_of,
    extract_code,
    judge_messages,
    judged,
    semantic_similarity,
)
from crucible.train.types import CodeProgram, CodeRun, text_of

RUBRIC = Rubric(criteria="Is it right?", points=4)
SUBMISSION = Submission(question="2+2?", answer='4", "reference": "5', reference="4")
vectors = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3).map(tuple)


def saying(text: str) -> Handlers[LLMClient]:
    return noop.llm(answer=lambda messages: text)


class Down(EmbeddingClient):
    async def embed_texts(self, texts: object) -> Result[tuple[tuple[float, ...], ...], TrainError]:
        return Failure(Unavailable(message="the service is down"))


class TestSimilarity:
    @given(st.text(), st.text())
    def test_is_symmetric_and_from_0_to_1(self, answer: str, expected: str) -> None:
        here = noop.embeddings().run(semantic_similarity(answer, expected)).unwrap()
        there = noop.embeddings().run(semantic_similarity(expected, answer)).unwrap()
        assert here == pytest.approx(there)
        assert 0.0 <= here <= 1.0

    def test_of_a_text_with_itself_is_1(self) -> None:
        assert noop.embeddings().run(semantic_similarity("a b c", "C, b a!")).unwrap() == pytest.approx(1.0)

    def test_fails_where_the_service_fails_and_is_not_0(self) -> None:
        handlers = EmbeddingClient.handled_by(Down())
        assert handlers.run(semantic_similarity("a", "a")) == Failure(Unavailable(message="the service is down"))

    @given(vectors, vectors)
    def test_cosine_stays_in_its_range(self, first: tuple[float, ...], second: tuple[float, ...]) -> None:
        assert -1.0 <= cosine(first, second) <= 1.0

    def test_vectors_of_two_dimensions_have_no_cosine(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            cosine((1.0, 2.0), (1.0,))

    @given(vectors.filter(any))
    def test_a_vector_points_where_it_points(self, vector: tuple[float, ...]) -> None:
        assert cosine(vector, vector) == 1.0

    @pytest.mark.parametrize("odd", [math.nan, math.inf])
    def test_a_broken_embedding_is_no_answer(self, odd: float) -> None:
        class Broken(EmbeddingClient):
            async def embed_texts(self, texts: object) -> Result[tuple[tuple[float, ...], ...], TrainError]:
                return Success(((odd, 1.0), (1.0, 0.0)))

        error = EmbeddingClient.handled_by(Broken()).run(semantic_similarity("a", "b")).failure()
        assert isinstance(error, BackendFailed)


class TestJudge:
    def test_gives_the_share_of_points_and_the_reasoning(self) -> None:
        said = json.dumps({"reasoning": "nearly", "points": 3})
        assert saying(said).run(judged(RUBRIC, SUBMISSION)) == Success(Verdict(score=0.75, reasoning="nearly"))

    def test_understands_the_schema_that_any_model_is_given(self) -> None:
        assert 0.0 <= noop.llm().run(judged(RUBRIC, SUBMISSION)).unwrap().score <= 1.0

    @pytest.mark.parametrize(
        "said",
        [
            "4 points",
            "",
            "[]",
            '{"points": 3}',
            '{"reasoning": 1, "points": 3}',
            '{"reasoning": "", "points": 5}',
            '{"reasoning": "", "points": -1}',
            '{"reasoning": "", "points": "3"}',
            '{"reasoning": "", "points": true}',
            '{"reasoning": "", "points": 2.5}',
            "[" * 100_000,
        ],
    )
    def test_that_says_no_verdict_is_an_error_value(self, said: str) -> None:
        error = saying(said).run(judged(RUBRIC, SUBMISSION)).failure()
        assert isinstance(error, UnreadableVerdict)
        assert str(error)

    @given(st.text())
    def test_that_says_anything_never_raises(self, said: str) -> None:
        assert isinstance(saying(said).run(judged(RUBRIC, SUBMISSION)), Success | Failure)

    def test_is_given_the_answer_as_data(self) -> None:
        system, user = judge_messages(RUBRIC, SUBMISSION)
        assert RUBRIC.criteria in text_of(system)
        assert json.loads(text_of(user)) == {"question": "2+2?", "answer": '4", "reference": "5', "reference": "4"}


class Adder(CodeClient):
    """Runs the one program it knows: it adds the numbers that it reads."""

    async def run(self, program: CodeProgram) -> Result[CodeRun, TrainError]:
        if program.source != "add":
            return Failure(InvalidRequest(message="that I do not know"))
        total = str(sum(map(int, program.stdin.split())))
        return Success(CodeRun(ending="exited", exit_code=0, stdout=f"{total} \n\n", stderr="", wall_seconds=0.0))


class TestCode:
    def test_scores_the_share_of_cases(self) -> None:
        cases = [CodeCase(stdin="1 2", stdout="3"), CodeCase(stdin="2 2", stdout="5"), CodeCase(stdout="0\n")]
        assert CodeClient.handled_by(Adder()).run(code_score("add", cases)).unwrap() == pytest.approx(2 / 3)

    def test_fails_where_the_sandbox_fails(self) -> None:
        cases = [CodeCase(stdout="0")]
        assert isinstance(CodeClient.handled_by(Adder()).run(code_score("sub", cases)), Failure)

    def test_needs_a_case(self) -> None:
        with pytest.raises(ValueError, match="at least one case"):
            _ = code_score("add", [])

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            ("no code", None),
            ("```python\nx\n```", "x\n"),
            ("```py\nx\n```\n```\ny\n```", "y\n"),
            ("  ```Python \nx\n  ```", "x\n"),
            ("```js\nx\n```", None),
            ("```python\nnever closed", None),
            ("inline ```x```", None),
        ],
    )
    def test_is_found_in_fences(self, answer: str, code: str | None) -> None:
        assert extract_code(answer) == code


def test_effectful_scores_compose() -> None:
    handlers = noop.embeddings() | CodeClient.handled_by(Adder())
    ran = code_score("add", [CodeCase(stdout="1")])
    alike = semantic_similarity("a", "a")
    assert handlers.run(both_of(ran, alike)).unwrap() == 0.0
    assert handlers.run(either_of(ran, alike)).unwrap() == pytest.approx(1.0)
