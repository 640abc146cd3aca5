"""Single questions: the reward, the form, and mathematics in boxes."""

from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Eff, fail, pure
from crucible.train.environments import (
    BOXED_EXAMPLE,
    QUESTION_SUFFIX,
    EnvironmentFailed,
    MathProblem,
    ProblemEnv,
    StopCondition,
    environment_failure,
    final_answer,
    last_boxed,
    math_env,
    math_problem_of,
)
from crucible.train.scoring import exact_match
from crucible.train.types import Message
from tests.train.environments.policies import RENDERER, TOKENIZER, always, lost, played, shown

PROBLEM = MathProblem(question="2+2?", answer="4")

# Texts whose braces are balanced: atoms, and groups of them to any depth.
balanced = st.recursive(
    st.sampled_from([r"\{", r"\}", r"\\", "x", "1", r"\frac", "^", " "]),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: "{" + "".join(parts) + "}") | inner,
    max_leaves=12,
)


def same(answer: str, expected: str) -> Eff[float, Never, Never]:
    return pure(exact_match(answer, expected))


def problem(score: float = 1.0, *, format_coef: float = 0.1, good: bool = True) -> ProblemEnv[Never]:
    return ProblemEnv(
        messages=(Message(role="user", content="2+2?"),),
        renderer=RENDERER,
        score=lambda text: pure(score),
        check_format=lambda text: good,
        format_coef=format_coef,
    )


class TestAProblem:
    @given(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans())
    def test_earns_its_score_less_the_price_of_a_wrong_form(
        self, score: float, coef: float, good: bool, ended: bool
    ) -> None:
        trajectory = played(problem(score, format_coef=coef, good=good), always("4", ended=ended))
        format_ok = float(good and ended)
        (step,) = trajectory.transitions
        assert step.reward == coef * (format_ok - 1) + score
        assert step.metrics == {"format": format_ok, "correct": score}
        assert step.episode_done

    def test_costs_a_tenth_by_default(self) -> None:
        assert played(problem(good=False), always("4")).total_reward == pytest.approx(0.9)

    def test_asks_with_the_prompt_of_the_renderer_and_its_stops(self) -> None:
        environment = problem()
        observation = environment.start()
        seen = played(environment, always("4")).transitions[0].observation
        assert seen == RENDERER.generation_prompt(environment.messages).unwrap()
        assert StopCondition.of(RENDERER).tokens == (TOKENIZER.eos_token,)
        assert observation is not None

    def test_keeps_the_tokens_and_logprobs_that_were_sampled(self) -> None:
        action = played(problem(), always("4")).transitions[0].action
        assert action.tokens == TOKENIZER.encode("4" + TOKENIZER.END)
        assert action.logprobs == (-0.5, -0.5)

    @given(st.lists(st.integers(0, 257), max_size=30))
    def test_reads_any_tokens(self, tokens: list[int]) -> None:
        from crucible.train.types import Sample

        sample = Sample(tokens=tuple(tokens), logprobs=(0.0,) * len(tokens), stop_reason="length")
        assert len(played(problem(), lambda prompt, stop: pure(sample)).transitions) == 1

    def test_whose_grader_fails_is_lost_and_not_wrong(self) -> None:
        failing = ProblemEnv(
            messages=(Message(role="user", content="2+2?"),),
            renderer=RENDERER,
            score=lambda text: fail("out of memory").alt(environment_failure("the grader failed")),
        )
        assert lost(failing, always("4")) == EnvironmentFailed(message="the grader failed", cause="out of memory")

    def test_that_cannot_be_rendered_is_lost(self) -> None:
        empty = ProblemEnv(messages=(), renderer=RENDERER, score=lambda text: pure(1.0))
        assert isinstance(lost(empty, always("4")), EnvironmentFailed)


class TestABox:
    @given(st.text(alphabet="ab {}", max_size=10), balanced, st.text(alphabet="ab", max_size=10))
    def test_is_found_whatever_nests_in_it(self, before: str, content: str, after: str) -> None:
        assert last_boxed(rf"{before}\boxed{{{content}}}{after}") == content.strip()

    @given(balanced, balanced)
    def test_that_stands_last_counts(self, first: str, last: str) -> None:
        assert last_boxed(rf"\boxed{{{first}}} no: \boxed{{{last}}}") == last.strip()

    def test_may_nest_without_end(self) -> None:
        deep = "{" * 5000 + "x" + "}" * 5000
        assert last_boxed(rf"\boxed{{{deep}}}") == deep

    def test_within_a_box_counts(self) -> None:
        assert last_boxed(r"\boxed{\boxed{3}}") == "3"

    def test_that_is_never_closed_is_none(self) -> None:
        assert last_boxed(r"\boxed{\frac{1}{2}") is None
        assert last_boxed(r"\boxed{1\}") is None
        assert last_boxed("\\boxed{1\\") is None

    @given(st.text())
    def test_in_any_text_is_looked_for_without_raising(self, text: str) -> None:
        assert last_boxed(text) is None or "boxed" in text or "fbox" in text

    def test_of_gsm8k_is_a_line(self) -> None:
        assert final_answer("It is 1 + 2.\n#### 12,345") == "12345"


class TestAMathProblem:
    def test_in_the_right_form_earns_1(self) -> None:
        trajectory = played(math_env(PROBLEM, RENDERER, same), always(r"It is \boxed{5}, no, \boxed{4}"))
        assert trajectory.total_reward == 1.0
        assert shown(trajectory.transitions[0].observation).count("2+2?" + QUESTION_SUFFIX) == 1

    def test_without_a_box_is_wrong_and_ungraded(self) -> None:
        def refuses(answer: str, expected: str) -> Eff[float, EnvironmentFailed, Never]:
            return fail(EnvironmentFailed(message="never asked"))

        trajectory = played(math_env(PROBLEM, RENDERER, refuses), always("4"))
        assert trajectory.total_reward == pytest.approx(-0.1)
        assert lost(math_env(PROBLEM, RENDERER, refuses), always(r"\boxed{4}")) == EnvironmentFailed(
            message="never asked"
        )

    def test_gives_the_answer_first_and_what_is_expected_second(self) -> None:
        asked: list[tuple[str, str]] = []

        def remembers(answer: str, expected: str) -> Eff[float, Never, Never]:
            asked.append((answer, expected))
            return pure(0.0)

        played(math_env(PROBLEM, RENDERER, remembers), always(r"\boxed{5}"))
        assert asked == [("5", "4")]

    def test_may_follow_an_example(self) -> None:
        environment = math_env(PROBLEM, RENDERER, same, prefix=BOXED_EXAMPLE)
        assert "strawberry" in shown(played(environment, always(r"\boxed{4}")).transitions[0].observation)

    @pytest.mark.parametrize(
        ("row", "answer"),
        [
            ({"problem": "?", "solution": r"so \boxed{\frac{1}{2}}"}, r"\frac{1}{2}"),
            ({"question": "?", "answer": "a\n#### 1,000"}, "1000"),
            ({"input": "?", "expected": 7}, "7"),
            ({"instruction": "?", "prompt": "", "answer": " 42 "}, "42"),
        ],
    )
    def test_is_read_from_a_row(self, row: dict[str, object], answer: str) -> None:
        assert math_problem_of(row).unwrap() == MathProblem(question="?", answer=answer)

    @pytest.mark.parametrize("row", [{}, {"question": "?"}, {"answer": "4"}, {"question": "?", "answer": " "}])
    def test_that_is_none_is_refused_by_its_index(self, row: dict[str, object]) -> None:
        error = math_problem_of(row, index=7).failure()
        assert error.index == 7
        assert "question" in error.fix
