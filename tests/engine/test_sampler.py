"""Sampling: greedy is transformers' generate, draws follow the distribution, stops stop, batches do not matter."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crucible.engine import (
    Adam,
    EmptyBatchError,
    InvalidExampleError,
    LoadedModel,
    NonFiniteLogitsError,
    Sampler,
    Sampling,
    SamplingError,
    SequenceTooLongError,
    Trainer,
    wrap_model,
)
from crucible.engine.choosing import choose, uniforms
from tests.engine.tiny import EOS, LORA, VOCAB, example, tiny_model, tiny_tokenizer

PROMPTS = [example(length, seed=length).tokens for length in (3, 11, 11, 6, 30)]
GREEDY = Sampling(max_tokens=12, temperature=0, stop_on_eos=False)


@pytest.fixture(scope="module")
def trainer(tiny: LoadedModel) -> Trainer:
    trainer = Trainer(tiny, LORA)
    for seed in range(3):
        trainer.forward_backward([example(20, seed=seed)], "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
    return trainer


@pytest.fixture(scope="module")
def sampler(tiny: LoadedModel, trainer: Trainer) -> Sampler:
    return Sampler(tiny, trainer.snapshot())


class TestGreedy:
    def test_equals_generate_in_a_padded_batch(self, tiny: LoadedModel) -> None:
        sampled = Sampler(tiny).sample(PROMPTS, GREEDY)
        for prompt, (one,) in zip(PROMPTS, sampled, strict=True):
            ids = torch.tensor([prompt])
            want = tiny.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=12,
                eos_token_id=None,
                pad_token_id=0,
            )
            assert list(one.tokens) == want[0, len(prompt) :].tolist()
            assert one.stop_reason == "length"

    def test_rows_that_finish_early_leave_the_others_alone(self, sampler: Sampler) -> None:
        full = sampler.sample(PROMPTS, GREEDY)
        stop = full[1][0].tokens[2]
        for (whole,), (cut,) in zip(full, sampler.sample(PROMPTS, Sampling(**settings(stop=(stop,)))), strict=True):
            end = whole.tokens.index(stop) + 1 if stop in whole.tokens else len(whole.tokens)
            assert cut.tokens == whole.tokens[:end]
            assert cut.stop_reason == ("stop" if stop in whole.tokens else "length")

    def test_small_batches_give_the_same(self, tiny: LoadedModel, trainer: Trainer, sampler: Sampler) -> None:
        small = Sampler(tiny, trainer.snapshot(), max_rows=2)
        mine, theirs = ([one.tokens for (one,) in some.sample(PROMPTS, GREEDY)] for some in (sampler, small))
        assert mine == theirs

    def test_long_generation_grows_the_cache(self, sampler: Sampler) -> None:
        (one,), (two,) = sampler.sample(PROMPTS[:2], Sampling(max_tokens=100, temperature=0, stop_on_eos=False))
        for prompt, sample in zip(PROMPTS, (one, two), strict=False):
            again = sampler.logprobs([[*prompt, *sample.tokens]])[0][len(prompt) :]
            assert again == pytest.approx(sample.logprobs, abs=1e-3)


def settings(**changes: Any) -> dict[str, Any]:
    return {"max_tokens": 12, "temperature": 0.0, "stop_on_eos": False, **changes}


class TestDraws:
    def test_a_sample_depends_on_seed_and_indexes_alone(self, sampler: Sampler) -> None:
        sampling = Sampling(max_tokens=8, seed=7, stop_on_eos=False)
        whole = sampler.sample(PROMPTS, sampling, num_samples=3)
        few = sampler.sample(PROMPTS[:2], sampling, num_samples=2)
        assert [[one.tokens for one in group] for group in few] == [
            [one.tokens for one in group[:2]] for group in whole[:2]
        ]
        assert len({one.tokens for group in whole for one in group}) == 15
        other = sampler.sample(PROMPTS[:2], Sampling(max_tokens=8, seed=8, stop_on_eos=False), num_samples=2)
        assert other[0][0].tokens != few[0][0].tokens

    def test_equal_prompts_get_different_samples(self, sampler: Sampler) -> None:
        groups = sampler.sample([PROMPTS[0]] * 3, Sampling(max_tokens=8, stop_on_eos=False), num_samples=2)
        assert len({one.tokens for group in groups for one in group}) == 6

    def test_logprobs_are_the_models_at_temperature_one(self, sampler: Sampler, trainer: Trainer) -> None:
        sampling = Sampling(max_tokens=9, temperature=0.5, top_k=20, top_p=0.9, seed=1, stop_on_eos=False)
        for prompt, (one,) in zip(PROMPTS, sampler.sample(PROMPTS, sampling), strict=True):
            again = sampler.logprobs([[*prompt, *one.tokens]])[0]
            assert again[0] is None
            assert again[len(prompt) :] == pytest.approx(one.logprobs, abs=1e-3)

    def test_a_merged_adapter_scores_as_the_trainer(self, sampler: Sampler, trainer: Trainer) -> None:
        one = example(25, seed=4)
        sequence = [*one.tokens, one.loss_inputs["target_tokens"][-1]]
        theirs = trainer.forward([one], "cross_entropy").logprobs[0]
        assert sampler.logprobs([[int(token) for token in sequence], [3]])[0][1:] == pytest.approx(theirs, abs=1e-4)

    def test_frequencies_follow_the_distribution(self) -> None:
        logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(20_000, 1)
        draws = torch.tensor(uniforms(0, 0, 0, 20_000))
        sampling = Sampling(max_tokens=1, temperature=0.7)
        chosen, _ = choose(logits, sampling, draws)
        want = (logits[0] / 0.7).softmax(-1)
        got = torch.bincount(chosen, minlength=4) / 20_000
        assert torch.allclose(got, want, atol=0.01)

    @pytest.mark.parametrize(
        ("limits", "allowed"),
        [
            ({"top_k": 2}, {1, 2}),
            ({"top_p": 0.7}, {1, 2}),
            ({"top_p": 0.01}, {2}),
            ({"top_k": 3, "top_p": 0.99}, {0, 1, 2}),
        ],
    )
    def test_top_k_and_top_p_cut(self, limits: dict[str, float], allowed: set[int]) -> None:
        logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(5_000, 1)
        sampling = Sampling(max_tokens=1, **limits)  # type: ignore[arg-type]  # one table for both limits
        chosen, logprobs = choose(logits, sampling, torch.tensor(uniforms(1, 0, 0, 5_000)))
        assert set(chosen.tolist()) == allowed
        assert torch.allclose(logprobs, logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0])

    def test_tokens_without_probability_are_never_drawn(self) -> None:
        logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).repeat(3, 1)
        edges = torch.tensor([0.0, 0.5, np.nextafter(1.0, 0.0)], dtype=torch.float64)
        assert choose(logits, Sampling(max_tokens=1), edges)[0].tolist() == [1, 1, 1]


class TestStops:
    def test_the_end_of_sequence_stops_unless_told_otherwise(self) -> None:
        model = tiny_model().model
        with torch.no_grad():
            model.lm_head.weight[EOS] = 0
        model.lm_head.weight.data[:, 0] = 0
        loaded = wrap_model(model, tiny_tokenizer(), name="eager to end")
        assert loaded.eos_ids == (EOS,)
        hot = Sampling(max_tokens=100, temperature=50, seed=0)
        samples = Sampler(loaded).sample([(5, 6)], hot, num_samples=20)[0]
        ended = [one for one in samples if one.stop_reason == "stop"]
        assert ended
        assert all(one.tokens[-1] == EOS and EOS not in one.tokens[:-1] for one in ended)
        assert all(EOS not in one.tokens and len(one.tokens) == 100 for one in samples if one not in ended)

    def test_a_text_stops_at_the_token_that_completes_it(self, tiny: LoadedModel, sampler: Sampler) -> None:
        (whole,) = sampler.sample(PROMPTS[:1], GREEDY)[0]
        text = tiny.tokenizer.decode(list(whole.tokens[3:5]))
        (cut,) = sampler.sample(PROMPTS[:1], Sampling(max_tokens=12, temperature=0, stop_strings=(text,)))[0]
        assert cut.stop_reason == "stop"
        assert text in tiny.tokenizer.decode(list(cut.tokens))
        assert text not in tiny.tokenizer.decode(list(cut.tokens[:-1]))

    def test_generation_ends_at_the_context_limit(self) -> None:
        sampler = Sampler(tiny_model(max_length=10))
        (one,) = sampler.sample([(2, 3, 4)], Sampling(max_tokens=50, stop_on_eos=False))[0]
        assert (len(one.tokens), one.stop_reason) == (7, "length")


class TestTopLogprobs:
    def test_are_the_best_of_a_plain_forward_pass(self, tiny: LoadedModel) -> None:
        found = Sampler(tiny).top_logprobs(PROMPTS, 4)
        assert [len(one) for one in found] == [len(prompt) for prompt in PROMPTS]
        for prompt, places in zip(PROMPTS, found, strict=True):
            with torch.no_grad():
                logits = tiny.model(torch.tensor([prompt])).logits[0]
            want = logits.float().log_softmax(-1).topk(4, dim=-1)
            assert places[0] == []
            for place, tokens, logprobs in zip(places[1:], want.indices.tolist(), want.values.tolist(), strict=False):
                assert [token for token, _ in place] == tokens
                assert [logprob for _, logprob in place] == pytest.approx(logprobs, abs=1e-4)

    def test_an_adapter_counts_and_agrees_with_its_logprobs(self, tiny: LoadedModel, sampler: Sampler) -> None:
        whole, scored = sampler.top_logprobs(PROMPTS, VOCAB), sampler.logprobs(PROMPTS)
        assert whole != Sampler(tiny).top_logprobs(PROMPTS, VOCAB)
        for prompt, places, logprobs in zip(PROMPTS, whole, scored, strict=True):
            assert [dict(place)[token] for token, place in zip(prompt[1:], places[1:], strict=True)] == pytest.approx(
                logprobs[1:], abs=1e-4
            )

    @pytest.mark.parametrize("tokens", [1, 16, 4096])
    def test_micro_batches_and_chunks_do_not_matter(
        self, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, tokens: int
    ) -> None:
        want = Sampler(tiny).top_logprobs(PROMPTS, 3)
        monkeypatch.setattr("crucible.engine.scoring.ROWS_AT_ONCE", 2)
        found = Sampler(tiny, micro_batch_tokens=tokens).top_logprobs(PROMPTS, 3)
        for place, other in zip(chain(*found), chain(*want), strict=True):
            assert [token for token, _ in place] == [token for token, _ in other]
            assert [logprob for _, logprob in place] == pytest.approx([logprob for _, logprob in other], abs=1e-4)

    def test_a_model_that_has_no_more_gives_all(self, tiny: LoadedModel) -> None:
        [single, [first, second]] = Sampler(tiny).top_logprobs([[3], [3, 4]], 10**6)
        assert single == [[]]
        assert first == []
        assert sorted(token for token, _ in second) == list(range(VOCAB))
        assert Sampler(tiny).top_logprobs([[3], [4]], 1) == [[[]], [[]]]

    def test_what_cannot_be_scored_is_refused(self, tiny: LoadedModel) -> None:
        with pytest.raises(SamplingError, match="num_top"):
            Sampler(tiny).top_logprobs(PROMPTS, 0)
        with pytest.raises(EmptyBatchError):
            Sampler(tiny).top_logprobs([], 1)
        with pytest.raises(SequenceTooLongError):
            Sampler(tiny).top_logprobs([[1] * 129], 1)


class TestRefusals:
    def test_prompts(self, sampler: Sampler) -> None:
        one = Sampling(max_tokens=1)
        with pytest.raises(EmptyBatchError):
            sampler.sample([], one)
        with pytest.raises(InvalidExampleError, match="example 1: has no tokens"):
            sampler.sample([[1], []], one)
        with pytest.raises(InvalidExampleError, match=f"outside the vocabulary of {VOCAB}"):
            sampler.logprobs([[1, VOCAB]])
        with pytest.raises(SequenceTooLongError, match="128 tokens and the limit is 127"):
            sampler.sample([[1] * 128], one)
        with pytest.raises(SamplingError):
            sampler.sample([[1]], one, num_samples=0)
        assert sampler.logprobs([[1] * 128])[0][1] is not None

    @pytest.mark.parametrize(
        "changes", [{"max_tokens": 0}, {"top_p": 0.0}, {"top_k": 0}, {"temperature": -1.0}, {"stop_strings": ("",)}]
    )
    def test_settings(self, changes: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(changes))):
            Sampling(**settings(**changes))


@pytest.mark.slow
class TestSmolLM:
    def test_knows_the_capital_of_france(self, smollm: LoadedModel) -> None:
        sampler = Sampler(smollm)
        prompt = smollm.tokenizer.encode("The capital of France is")
        (one,) = sampler.sample([prompt], Sampling(max_tokens=4, temperature=0))[0]
        assert "Paris" in smollm.tokenizer.decode(list(one.tokens))

    def test_a_few_steps_lower_the_loss_and_change_the_samples(self, smollm: LoadedModel, tmp_path: Path) -> None:
        from crucible.engine import Example, read_adapter

        ids = smollm.tokenizer.encode("The capital of France is Crucible.")
        weights = [0.0] * 4 + [1.0] * (len(ids) - 5)
        one = Example(tokens=ids[:-1], loss_inputs={"target_tokens": ids[1:], "weights": weights})
        trainer = Trainer(smollm, LORA)
        losses = []
        for _ in range(6):
            losses.append(trainer.forward_backward([one], "cross_entropy").loss)
            trainer.optim_step(Adam(learning_rate=3e-3))
        assert losses[-1] < 0.2 * losses[0]
        trainer.save(tmp_path / "checkpoint")
        sampler = Sampler(smollm, read_adapter(tmp_path / "checkpoint"))
        (sample,) = sampler.sample([ids[:5]], Sampling(max_tokens=4, temperature=0))[0]
        assert "Cru" in smollm.tokenizer.decode(list(sample.tokens))


class TestNumbersThatAreNone:
    @pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-45, 1e-38, 1e-10])
    @pytest.mark.parametrize("limits", [{}, {"top_k": 3}, {"top_p": 0.9}, {"top_k": 10_000}])
    def test_the_least_temperatures_choose_the_best_token(self, temperature: float, limits: dict[str, Any]) -> None:
        logits = torch.randn(64, 300, generator=torch.Generator().manual_seed(0)) * 20
        sampling = Sampling(max_tokens=1, temperature=temperature, **limits)
        chosen, logprobs = choose(logits, sampling, torch.tensor(uniforms(1, 0, 0, 64)))
        assert torch.equal(chosen, logits.argmax(-1))
        assert torch.allclose(logprobs, logits.log_softmax(-1).amax(-1), atol=1e-4)

    def test_logits_of_minus_infinity_are_impossible_tokens_at_any_temperature(self) -> None:
        logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]]).repeat(200, 1)
        for temperature in (1e-38, 0.5, 1.0, 1e30):
            sampling = Sampling(max_tokens=1, temperature=temperature)
            chosen, logprobs = choose(logits, sampling, torch.tensor(uniforms(1, 0, 0, 200)))
            assert set(chosen.tolist()) <= {1, 2}
            assert logprobs.isfinite().all()

    @pytest.mark.parametrize("odd", [torch.nan, torch.inf])
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_a_model_without_a_distribution_is_an_error_of_prompt_and_step(
        self, odd: float, temperature: float
    ) -> None:
        loaded = tiny_model()
        sampling = Sampling(max_tokens=4, temperature=temperature, stop_on_eos=False, seed=11)
        (fine,) = Sampler(loaded).sample([(5, 6)], sampling)[0]
        assert fine.tokens[0] not in (5, 6)
        loaded.model.get_input_embeddings().weight.data[fine.tokens[0]] = odd
        with pytest.raises(NonFiniteLogitsError, match="prompt 0 after 1 generated tokens") as caught:
            Sampler(loaded).sample([(5, 6)], sampling)
        assert (caught.value.index, caught.value.place) == (0, 1)
        bad = (5, fine.tokens[0], 6)
        for asked in (
            lambda: Sampler(loaded).logprobs([(5, 6), bad]),
            lambda: Sampler(loaded).top_logprobs([(5, 6), bad], 2),
        ):
            with pytest.raises(NonFiniteLogitsError, match="sequence 1"):
                asked()

    def test_a_token_that_cannot_be_has_minus_infinity(self) -> None:
        loaded = tiny_model()
        head = torch.nn.Linear(64, VOCAB)
        head.weight.data = loaded.model.lm_head.weight.data
        head.bias.data = torch.zeros(VOCAB).index_fill_(0, torch.tensor([7]), -torch.inf)
        loaded.model.lm_head = head
        ((_, first, second),) = Sampler(loaded).logprobs([(5, 7, 6)])
        assert first == -math.inf
        assert second is not None
        assert math.isfinite(second)
