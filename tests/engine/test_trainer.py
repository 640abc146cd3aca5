"""Training: losses and gradients against torch and transformers, and nothing left behind by what fails."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from crucible.engine import (
    Adam,
    EmptyBatchError,
    Example,
    InvalidExampleError,
    LoadedModel,
    LoraSpec,
    LoraTargetError,
    LossConfigError,
    LossError,
    NoGradientError,
    NonFiniteGradientError,
    NonFiniteLossError,
    Sampler,
    Sampling,
    SequenceTooLongError,
    Trainer,
    UnknownLossError,
    wrap_model,
)
from tests.engine.tiny import LORA, VOCAB, example, policy_example, tiny_model, tiny_tokenizer

BATCH = [example(20, seed=1, untrained=3), example(31, seed=2), example(7, seed=3, untrained=6), example(12, seed=4)]


def gradients(trainer: Trainer) -> list[Tensor]:
    found = [parameter.grad for parameter in trainer._state.parameters]
    assert all(one is not None for one in found)
    return [one.clone() for one in found if one is not None]


def weights(trainer: Trainer) -> list[Tensor]:
    return [one for pair in trainer.snapshot().tensors.values() for one in pair]


def warmed(loaded: LoadedModel, **options: Any) -> Trainer:
    """Make a trainer whose B is not zero, so that every gradient is non-trivial."""
    trainer = Trainer(loaded, LORA, **options)
    trainer.forward_backward(BATCH, "cross_entropy")
    trainer.optim_step(Adam(learning_rate=1e-2))
    return trainer


def expected_logprobs(loaded: LoadedModel, one: Example) -> Tensor:
    logits = loaded.model(torch.tensor([one.tokens])).logits[0]
    return -torch.nn.functional.cross_entropy(logits, torch.tensor(one.loss_inputs["target_tokens"]), reduction="none")


class TestLosses:
    def test_a_fresh_adapter_changes_nothing_and_loss_is_the_weighted_sum(self, tiny: LoadedModel) -> None:
        output = Trainer(tiny, LORA).forward(BATCH, "cross_entropy")
        total = 0.0
        for one, logprobs in zip(BATCH, output.logprobs, strict=True):
            want = expected_logprobs(tiny, one)
            weight = torch.tensor(one.loss_inputs["weights"])
            total += float(-(want * weight).sum())
            assert torch.allclose(torch.tensor(logprobs), want * (weight != 0), atol=1e-4)
        assert output.loss == pytest.approx(total, rel=1e-5)
        assert output.metrics["loss:sum"] == output.loss

    def test_equals_transformers_loss_on_labels(self, tiny: LoadedModel) -> None:
        one = example(24, seed=9, untrained=5)
        ids = [*one.tokens, one.loss_inputs["target_tokens"][-1]]
        labels = [-100] * 6 + ids[6:]
        ones = Example(tokens=one.tokens, loss_inputs={**one.loss_inputs, "weights": [0.0] * 5 + [1.0] * 19})
        mean = float(tiny.model(torch.tensor([ids]), labels=torch.tensor([labels])).loss)
        assert Trainer(tiny, LORA).forward([ones], "cross_entropy").loss == pytest.approx(mean * 19, rel=1e-5)

    def test_all_positions_gives_every_logprob_and_the_same_loss(self, tiny: LoadedModel) -> None:
        trainer = Trainer(tiny, LORA)
        every = trainer.forward(BATCH, "cross_entropy", positions="all")
        assert every.loss == pytest.approx(trainer.forward(BATCH, "cross_entropy").loss, rel=1e-6)
        assert all(value < 0 for logprobs in every.logprobs for value in logprobs)

    def test_all_positions_needs_no_trained_token(self, tiny: LoadedModel) -> None:
        output = Trainer(tiny, LORA).forward([example(5, untrained=5)], "cross_entropy", positions="all")
        assert output.loss == 0
        assert len(output.logprobs[0]) == 5

    @pytest.mark.parametrize("name", ["importance_sampling", "ppo", "cispo", "dro"])
    def test_a_policy_loss_equals_the_same_custom_loss(self, tiny: LoadedModel, name: str) -> None:
        batch = [policy_example(15, seed=1, untrained=4), policy_example(9, seed=2)]
        built_in, custom = warmed(tiny), warmed(tiny)
        one = built_in.forward_backward(batch, name)
        plain = [Example(tokens=e.tokens, loss_inputs={"target_tokens": e.loss_inputs["target_tokens"]}) for e in batch]
        two = custom.forward_backward_custom(plain, policy_loss(name, batch))
        assert two.loss == pytest.approx(one.loss, rel=1e-4)
        for left, right in zip(gradients(built_in), gradients(custom), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-3)

    def test_a_policy_loss_scores_sampled_tokens_without_advantage(self, tiny: LoadedModel) -> None:
        one = Example(
            tokens=(2, 3, 4),
            loss_inputs={"target_tokens": [3, 4, 5], "logprobs": [0, -3.0, -3.0], "advantages": [0, 0, 1.0]},
        )
        logprobs = Trainer(tiny, LORA).forward([one], "importance_sampling").logprobs[0]
        assert logprobs[0] == 0
        assert logprobs[1] < 0

    def test_weights_switch_policy_positions_off(self, tiny: LoadedModel) -> None:
        one = policy_example(6)
        half = Example(tokens=one.tokens, loss_inputs={**one.loss_inputs, "weights": [0, 0, 0, 1, 1, 1]})
        assert Trainer(tiny, LORA).forward([half], "ppo").logprobs[0][:3] == (0, 0, 0)


def policy_loss(name: str, batch: Sequence[Example]) -> Callable[[list[Tensor]], tuple[Tensor, Mapping[str, float]]]:
    """Write the four losses once more, from the formulas of the Tinker docs."""

    def fn(logprobs: list[Tensor]) -> tuple[Tensor, Mapping[str, float]]:
        total = torch.tensor(0.0)
        for new, one in zip(logprobs, batch, strict=True):
            old, gain = torch.tensor(one.loss_inputs["logprobs"]), torch.tensor(one.loss_inputs["advantages"])
            on = (old != 0).float()
            ratio = torch.exp(new - old)
            terms = {
                "importance_sampling": ratio * gain,
                "ppo": torch.minimum(ratio * gain, ratio.clip(0.8, 1.2) * gain),
                "cispo": ratio.clip(0.0, 4.0).detach() * new * gain,
                "dro": new * gain - 0.5 * 0.05 * (new - old) ** 2,
            }
            total = total - (terms[name] * on).sum()
        return total, {"examples:sum": len(batch)}

    return fn


class TestGradients:
    @pytest.mark.parametrize("micro_batch_tokens", [1, 32, 40, 1000])
    def test_micro_batches_and_packing_give_one_gradient(self, tiny: LoadedModel, micro_batch_tokens: int) -> None:
        whole, cut = warmed(tiny), warmed(tiny, micro_batch_tokens=micro_batch_tokens)
        one, two = (trainer.forward_backward(BATCH, "cross_entropy") for trainer in (whole, cut))
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        for left, right in zip(gradients(whole), gradients(cut), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-4)

    def test_calls_accumulate(self, tiny: LoadedModel) -> None:
        whole, parts = warmed(tiny), warmed(tiny)
        whole.forward_backward(BATCH, "cross_entropy")
        parts.forward_backward(BATCH[:1], "cross_entropy")
        parts.forward_backward(BATCH[1:], "cross_entropy")
        for left, right in zip(gradients(whole), gradients(parts), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-4)

    def test_shared_prefixes_change_nothing(self, tiny: LoadedModel) -> None:
        prefix = example(40, seed=5).tokens
        batch = [example(40 + n, seed=n, untrained=39, prefix=prefix) for n in (5, 9, 1, 20)]
        batch += [batch[0], example(30, seed=8)]
        shared, alone = warmed(tiny), warmed(tiny, micro_batch_tokens=1)
        one, two = (trainer.forward_backward(batch, "cross_entropy") for trainer in (shared, alone))
        for mine, theirs in zip(one.logprobs, two.logprobs, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)
        for left, right in zip(gradients(shared), gradients(alone), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-4)

    def test_packed_equals_rows_of_their_own(self, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        packed = warmed(tiny)
        monkeypatch.setattr("crucible.engine.trainer.can_pack", lambda model: False)
        plain = warmed(tiny)
        one, two = (trainer.forward_backward(BATCH, "cross_entropy") for trainer in (packed, plain))
        for mine, theirs in zip(one.logprobs, two.logprobs, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-4)
        for left, right in zip(gradients(packed), gradients(plain), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-4)

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
    def test_equals_autograd_through_peft(self, tiny: LoadedModel, tmp_path: Any) -> None:
        from peft import PeftModel

        trainer = warmed(tiny)
        trainer.export_adapter(tmp_path / "adapter")
        model = PeftModel.from_pretrained(tiny_model().model, tmp_path / "adapter", is_trainable=True)
        for one in BATCH:
            logits = model(torch.tensor([one.tokens])).logits[0]
            targets = torch.tensor(one.loss_inputs["target_tokens"])
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            (loss * torch.tensor(one.loss_inputs["weights"])).sum().backward()
        trainer.forward_backward(BATCH, "cross_entropy")
        theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert len(theirs) == len(gradients(trainer)) == 2 * 2 * 7
        for name, mine in zip(trainer._state.names, gradients(trainer), strict=True):
            assert torch.allclose(mine, theirs[f"base_model.model.{name}.default.weight"], atol=1e-4, rtol=1e-4)

    def test_forward_leaves_gradients_alone(self, tiny: LoadedModel) -> None:
        trainer = warmed(tiny)
        trainer.forward_backward(BATCH, "cross_entropy")
        before = gradients(trainer)
        trainer.forward(BATCH[:2], "cross_entropy")
        assert all(torch.equal(*pair) for pair in zip(before, gradients(trainer), strict=True))

    def test_only_the_adapter_learns(self, tiny: LoadedModel) -> None:
        before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
        other = Trainer(tiny, LORA)
        quiet = weights(other)
        warmed(tiny)
        assert all(torch.equal(before[name], tensor) for name, tensor in tiny.model.state_dict().items())
        assert all(torch.equal(*pair) for pair in zip(quiet, weights(other), strict=True))
        assert all(parameter.grad is None for parameter in tiny.model.parameters())


class TestSteps:
    def test_adam_equals_torch(self, tiny: LoadedModel) -> None:
        trainer = Trainer(tiny, LORA)
        adam = Adam(learning_rate=3e-3, weight_decay=0.1, grad_clip_norm=2.0)
        copies = [torch.nn.Parameter(tensor.clone()) for tensor in weights(trainer)]
        theirs = torch.optim.AdamW(copies, lr=3e-3, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.1)
        for _ in range(3):
            trainer.forward_backward(BATCH, "cross_entropy")
            for copy, gradient in zip(copies, gradients(trainer), strict=True):
                copy.grad = gradient
            norm = float(torch.nn.utils.clip_grad_norm_(copies, 2.0))
            theirs.step()
            assert trainer.optim_step(adam).grad_norm == pytest.approx(norm, rel=1e-5)
            for mine, copy in zip(weights(trainer), copies, strict=True):
                assert torch.allclose(mine, copy, atol=1e-6)

    def test_training_lowers_the_loss_and_counts_steps(self, tiny: LoadedModel) -> None:
        trainer = Trainer(tiny, LORA)
        losses, steps = [], []
        for _ in range(8):
            losses.append(trainer.forward_backward(BATCH, "cross_entropy").loss)
            steps.append(trainer.optim_step(Adam(learning_rate=1e-2)))
        assert losses[-1] < 0.8 * losses[0]
        assert [one.step for one in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert (trainer.step, steps[0].learning_rate) == (8, 1e-2)

    def test_equal_seeds_give_equal_bits_with_dropout(self, tiny: LoadedModel) -> None:
        spec = LoraSpec(rank=4, dropout=0.3, seed=1)
        one, two = Trainer(tiny, spec), Trainer(tiny, spec)
        for index in range(3):
            torch.manual_seed(index)  # the global stream has no say
            losses = [trainer.forward_backward(BATCH, "cross_entropy").loss for trainer in (one, two)]
            steps = [trainer.optim_step(Adam()) for trainer in (one, two)]
            assert losses[0] == losses[1]
            assert steps[0] == steps[1]
        assert all(torch.equal(*pair) for pair in zip(weights(one), weights(two), strict=True))

    def test_dropout_acts_in_training_only(self, tiny: LoadedModel) -> None:
        trainer = Trainer(tiny, LoraSpec(rank=4, dropout=0.5))
        trainer.forward_backward(BATCH, "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
        assert trainer.forward(BATCH, "cross_entropy") == trainer.forward(BATCH, "cross_entropy")
        drawn = [trainer.forward_backward(BATCH, "cross_entropy").loss for _ in range(2)]
        assert drawn[0] != drawn[1]

    def test_a_step_needs_a_gradient(self, tiny: LoadedModel) -> None:
        trainer = warmed(tiny)
        with pytest.raises(NoGradientError, match="forward_backward"):
            trainer.optim_step(Adam())

    def test_a_snapshot_does_not_change_with_the_trainer(self, tiny: LoadedModel) -> None:
        trainer = warmed(tiny)
        snapshot = trainer.snapshot()
        before = [one.clone() for pair in snapshot.tensors.values() for one in pair]
        trainer.forward_backward(BATCH, "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
        after = [one for pair in snapshot.tensors.values() for one in pair]
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
        assert snapshot.step == 1


class TestCustomLoss:
    def test_may_mix_examples_of_different_micro_batches(self, tiny: LoadedModel) -> None:
        whole, cut = warmed(tiny), warmed(tiny, micro_batch_tokens=1)
        for trainer in (whole, cut):
            output = trainer.forward_backward_custom(BATCH, lambda ps: (ps[0].sum() * ps[1].sum() / 100, {"n": 2.0}))
            assert output.metrics == {"n": 2.0}
        for left, right in zip(gradients(whole), gradients(cut), strict=True):
            assert torch.allclose(left, right, atol=1e-2, rtol=1e-3)

    def test_sees_the_same_dropout_as_its_gradient(self, tiny: LoadedModel) -> None:
        spec = LoraSpec(rank=4, dropout=0.5)
        built_in, custom = Trainer(tiny, spec), Trainer(tiny, spec)
        weight = [torch.tensor(one.loss_inputs["weights"]) for one in BATCH]
        for trainer in (built_in, custom):
            trainer.forward_backward(BATCH, "cross_entropy")
            trainer.optim_step(Adam(learning_rate=1e-2))
        one = built_in.forward_backward(BATCH, "cross_entropy")
        two = custom.forward_backward_custom(BATCH, lambda ps: (-(torch.cat(ps) * torch.cat(weight)).sum(), {}))
        assert two.loss == pytest.approx(one.loss, rel=1e-5)
        for left, right in zip(gradients(built_in), gradients(custom), strict=True):
            assert torch.allclose(left, right, atol=1e-4, rtol=1e-3)

    def test_gives_zeros_for_examples_that_are_not_scored(self, tiny: LoadedModel) -> None:
        batch = [BATCH[0], example(5, seed=5, untrained=5), BATCH[1]]
        output = warmed(tiny).forward_backward_custom(batch, lambda ps: (-torch.cat(ps).sum(), {}))
        assert [len(one) for one in output.logprobs] == [20, 5, 31]
        assert set(output.logprobs[1]) == {0.0}
        assert output.loss == pytest.approx(-sum(map(sum, output.logprobs)), rel=1e-5)

    def test_must_depend_on_the_logprobs(self, tiny: LoadedModel) -> None:
        with pytest.raises(LossError, match="scalar"):
            warmed(tiny).forward_backward_custom(BATCH, lambda ps: (torch.tensor(1.0), {}))

    def test_must_be_finite(self, tiny: LoadedModel) -> None:
        with pytest.raises(NonFiniteLossError) as caught:
            warmed(tiny).forward_backward_custom(BATCH, lambda ps: (ps[2].sum() * float("nan"), {}))
        assert caught.value.examples == (2,)


class TestRefusals:
    def test_an_unknown_loss_lists_the_known(self, tiny: LoadedModel) -> None:
        with pytest.raises(UnknownLossError, match="cispo, cross_entropy, dro, importance_sampling, ppo"):
            Trainer(tiny, LORA).forward(BATCH, "crossentropy")

    def test_an_unknown_configuration_key_lists_the_known(self, tiny: LoadedModel) -> None:
        with pytest.raises(LossConfigError, match="clip_high_threshold, clip_low_threshold"):
            Trainer(tiny, LORA).forward(BATCH, "ppo", {"clip": 0.2})

    @pytest.mark.parametrize("batch", [[], [example(4, untrained=4)]])
    def test_a_batch_without_a_trained_token(self, tiny: LoadedModel, batch: list[Example]) -> None:
        with pytest.raises(EmptyBatchError):
            Trainer(tiny, LORA).forward_backward(batch, "cross_entropy")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"weights": [1.0]}, r"weights has shape \(1,\) and its tokens have shape \(3,\)"),
            ({"target_tokens": [[1, 2], [1, 2], [1, 2]]}, r"target_tokens has shape \(3, 2\)"),
            ({"target_tokens": [1, 2, VOCAB]}, f"target id {VOCAB} is outside"),
            ({"target_tokens": [1, 2, -100]}, "target id -100 is outside"),
            ({"mask": [1, 1, 1]}, "knows no input mask; known: target_tokens, weights"),
        ],
    )
    def test_a_malformed_example_is_named(self, tiny: LoadedModel, change: dict[str, Any], message: str) -> None:
        good: dict[str, Any] = {"target_tokens": [1, 2, 3], "weights": [1.0, 1.0, 1.0]}
        bad = Example(tokens=(1, 2, 3), loss_inputs={**good, **change})
        with pytest.raises(InvalidExampleError, match=f"example 1: .*{message}") as caught:
            Trainer(tiny, LORA).forward([BATCH[0], bad], "cross_entropy")
        assert caught.value.index == 1

    def test_a_missing_input_is_named(self, tiny: LoadedModel) -> None:
        with pytest.raises(InvalidExampleError, match="lacks the loss input 'logprobs'"):
            Trainer(tiny, LORA).forward([example(3)], "ppo")

    def test_ids_outside_the_vocabulary_and_no_tokens(self, tiny: LoadedModel) -> None:
        inputs: dict[str, Any] = {"target_tokens": [1], "weights": [1.0]}
        with pytest.raises(InvalidExampleError, match="token id -1"):
            Trainer(tiny, LORA).forward([Example(tokens=(-1,), loss_inputs=inputs)], "cross_entropy")
        with pytest.raises(InvalidExampleError, match="no tokens"):
            Trainer(tiny, LORA).forward([Example(tokens=(), loss_inputs=inputs)], "cross_entropy")

    def test_an_ignored_target_may_be_anything_where_it_is_not_trained(self, tiny: LoadedModel) -> None:
        one = Example(tokens=(1, 2), loss_inputs={"target_tokens": [-100, 3], "weights": [0, 1]})
        assert Trainer(tiny, LORA).forward([one], "cross_entropy").loss > 0

    def test_a_sequence_beyond_the_context(self, tiny: LoadedModel) -> None:
        with pytest.raises(SequenceTooLongError) as caught:
            Trainer(tiny, LORA).forward([*BATCH, example(129)], "cross_entropy")
        assert (caught.value.index, caught.value.length, caught.value.limit) == (4, 129, 128)

    @pytest.mark.parametrize("micro_batch_tokens", [1, 1000])
    def test_a_loss_that_is_not_finite_drops_gradients_and_names_examples(
        self, tiny: LoadedModel, micro_batch_tokens: int
    ) -> None:
        trainer = warmed(tiny, micro_batch_tokens=micro_batch_tokens)
        before = weights(trainer)
        trainer.forward_backward(BATCH, "cross_entropy")
        poison = example(5, seed=7)
        weight = [1.0, 1.0, 1.0, 1.0, float("inf")]
        bad = Example(tokens=poison.tokens, loss_inputs={**poison.loss_inputs, "weights": weight})
        with pytest.raises(NonFiniteLossError, match="examples 2") as caught:
            trainer.forward_backward([*BATCH[:2], bad, BATCH[3]], "cross_entropy")
        assert caught.value.examples == (2,)
        with pytest.raises(NoGradientError):
            trainer.optim_step(Adam())
        assert all(torch.equal(*pair) for pair in zip(before, weights(trainer), strict=True))

    def test_a_gradient_that_is_not_finite_updates_nothing(self, tiny: LoadedModel) -> None:
        trainer = warmed(tiny)
        before = weights(trainer)
        trainer.forward_backward(BATCH, "cross_entropy")
        trainer._state.parameters[0].grad = torch.full_like(trainer._state.parameters[0], float("nan"))
        with pytest.raises(NonFiniteGradientError):
            trainer.optim_step(Adam())
        assert all(torch.equal(*pair) for pair in zip(before, weights(trainer), strict=True))
        assert trainer.step == 1

    def test_an_interrupt_leaves_no_half_gradient(self, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = warmed(tiny, micro_batch_tokens=1)
        calls = iter(range(10))

        def interrupted(*args: Any, **kwargs: Any) -> Tensor:
            if next(calls) == 2:
                raise KeyboardInterrupt
            return torch.zeros(3, requires_grad=True)

        monkeypatch.setattr("crucible.engine.passes.row_logprobs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.forward_backward([example(3, seed=i) for i in range(4)], "cross_entropy")
        with pytest.raises(NoGradientError):
            trainer.optim_step(Adam())

    def test_an_unknown_lora_target_lists_the_layers(self, tiny: LoadedModel) -> None:
        with pytest.raises(LoraTargetError, match="q_prj; this model has: down_proj, gate_proj"):
            Trainer(tiny, LoraSpec(target=("q_prj", "v_proj")))

    @pytest.mark.parametrize(("field", "value"), [("rank", 0), ("dropout", 1.0), ("alpha", float("nan"))])
    def test_a_lora_shape_that_makes_no_sense(self, field: str, value: float) -> None:
        with pytest.raises(ValueError, match=field):
            LoraSpec(**{field: value})  # type: ignore[arg-type]  # one call for fields of different types


class TestModels:
    """Other architectures: those whose attention is not plain train one sequence a row, and all equal transformers."""

    @pytest.mark.parametrize(
        ("family", "options", "packs"),
        [
            ("Qwen3", {"head_dim": 16}, True),
            ("Mistral", {"sliding_window": None, "head_dim": 16}, True),
            ("Mistral", {"sliding_window": 4, "head_dim": 16}, False),
            ("Gemma2", {"sliding_window": 4, "head_dim": 16, "query_pre_attn_scalar": 16}, False),
            ("Gemma3Text", {"sliding_window": 4, "head_dim": 16}, False),
            ("Granite", {"logits_scaling": 3.0}, True),
        ],
    )
    def test_logprobs_and_samples(self, family: str, options: dict[str, Any], packs: bool) -> None:
        loaded = other_model(family, options)
        trainer = Trainer(loaded, LORA)
        assert trainer._setting.limits.packable is packs
        output = trainer.forward(BATCH, "cross_entropy", positions="all")
        for one, logprobs in zip(BATCH, output.logprobs, strict=True):
            assert logprobs == pytest.approx(expected_logprobs(loaded, one).tolist(), abs=1e-4)
        trainer.forward_backward(BATCH, "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
        sampler = Sampler(loaded, trainer.snapshot())
        prompts = [one.tokens for one in BATCH]
        for prompt, (sample,) in zip(prompts, sampler.sample(prompts, Sampling(max_tokens=9, seed=1)), strict=True):
            again = sampler.logprobs([[*prompt, *sample.tokens]])[0][len(prompt) :]
            assert again == pytest.approx(sample.logprobs, abs=2e-3)


def other_model(family: str, options: dict[str, Any]) -> LoadedModel:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **options,
    )
    name = family.removesuffix("Text")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForCausalLM")(config)
    return wrap_model(model, tiny_tokenizer(), name=family)


class TestPrecision:
    def test_bfloat16_autocast_is_close(self, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        exact = warmed(tiny)
        want = exact.forward_backward(BATCH, "cross_entropy")
        monkeypatch.setattr("crucible.engine.trainer.bfloat16_is_native", lambda device: True)
        rounded = warmed(tiny, autocast=True)
        assert rounded._setting.autocast
        got = rounded.forward_backward(BATCH, "cross_entropy")
        assert got.loss == pytest.approx(want.loss, rel=0.02)
        assert all(one.dtype == torch.float32 for one in gradients(rounded))
        assert not warmed(tiny)._setting.autocast


class TestTargets:
    def test_names_choose_layers(self, tiny: LoadedModel) -> None:
        adapted = Trainer(tiny, LoraSpec(target=("q_proj", "v_proj"))).snapshot().tensors
        assert sorted(adapted) == [f"model.layers.{i}.self_attn.{n}" for i in (0, 1) for n in ("q_proj", "v_proj")]

    def test_the_head_can_be_a_target_even_when_tied(self) -> None:
        trainer = Trainer(tiny_model(tied=True), LoraSpec(rank=2, target=("lm_head",)))
        before = trainer.forward_backward(BATCH, "cross_entropy").loss
        trainer.optim_step(Adam(learning_rate=1e-2))
        assert trainer.forward(BATCH, "cross_entropy").loss < before
