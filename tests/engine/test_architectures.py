"""Many architectures of transformers: the engine trains, scores and samples what transformers computes, and refuses the rest."""

import random
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from peft import PeftModel

from crucible.engine import (
    Adam,
    Example,
    LoadedModel,
    LoraSpec,
    NoGradientError,
    Sampler,
    Sampling,
    Trainer,
    UnsupportedModelError,
    read_adapter,
)
from crucible.engine.trial import TESTED, can_pack, require_decoding
from tests.engine.architectures import ARCHITECTURES, UNSAMPLED, VOCAB, architecture

FEW = ("gemma2", "granitemoehybrid", "llama4_text", "mamba2", "qwen3_next", "recurrent_gemma")
"""One of each kind of state: windows, Mamba 2 with experts, chunks, no attention at all, gated deltas, states in modules."""
pytestmark = pytest.mark.filterwarnings("ignore:.*(RoPE|rope|mamba_kernels).*")
every_architecture = pytest.mark.parametrize(
    "kind", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
)
_draw = random.Random(0)
TEXTS = [tuple(_draw.randrange(2, VOCAB) for _ in range(length)) for length in (5, 23, 12, 23, 9, 1)]
"""Longer and shorter than windows and chunks, two of one length, one a single token."""
RENAMED = ("deepseek_v2", "deepseek_v3", "ernie4_5_moe", "glm4_moe", "qwen3_next")
"""peft 0.21 takes the gate_proj, up_proj and down_proj of their shared experts for what experts were called before."""
IDLE = ("doge", "gemma3n_text")
"""Some layers do nothing for short texts, or before pretraining; those of every other type get a gradient."""
LORA = LoraSpec(rank=2, alpha=8, seed=3)


@lru_cache(maxsize=1)
def loaded(kind: str) -> LoadedModel:
    """Make each model once; tests of one come one after another."""
    return architecture(kind)


def example(text: tuple[int, ...]) -> Example:
    return Example(tokens=text[:-1], loss_inputs={"target_tokens": text[1:], "weights": [1.0] * (len(text) - 1)})


def by_transformers(model: Any, text: tuple[int, ...]) -> list[float]:
    """Give the log-probability of each token but the first, of one sequence alone."""
    with torch.no_grad():
        logits = model(torch.tensor([text]), use_cache=False).logits[0].float()
    return [float(row[token]) for row, token in zip(logits.log_softmax(-1), text[1:], strict=False)]


@every_architecture
def test_a_fresh_adapter_changes_nothing_and_scores_are_those_of_transformers(kind: str) -> None:
    base = loaded(kind)
    scored = Sampler(base).logprobs(TEXTS)
    trained = Trainer(base, LORA).forward([example(text) for text in TEXTS[:-1]], "cross_entropy").logprobs
    assert [tuple(one[1:]) for one in scored[:-1]] == list(trained)
    for text, logprobs in zip(TEXTS, scored, strict=True):
        assert logprobs[1:] == pytest.approx(by_transformers(base.model, text), abs=1e-4)


@every_architecture
def test_gradients_of_a_batch_are_the_sum_of_those_of_its_examples(kind: str) -> None:
    examples = [example(text) for text in TEXTS[:-1]]
    together, apart = Trainer(loaded(kind), LORA), Trainer(loaded(kind), LORA)
    for trainer in (together, apart):  # so that A has a gradient too
        trainer.forward_backward(examples[:1], "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
    together.forward_backward(examples, "cross_entropy")
    for one in examples:
        apart.forward_backward([one], "cross_entropy")
    assert together.optim_step(Adam(learning_rate=1e-2)).grad_norm == pytest.approx(
        apart.optim_step(Adam(learning_rate=1e-2)).grad_norm, rel=1e-4
    )
    mine, theirs = together.snapshot().tensors, apart.snapshot().tensors
    assert kind in IDLE or all(b.any() for _, b in mine.values())
    assert all(torch.allclose(mine[name][part], theirs[name][part], atol=1e-3) for name in mine for part in (0, 1))


@every_architecture
def test_greedy_samples_are_those_of_generate_one_by_one(kind: str) -> None:
    base = loaded(kind)
    sampler = Sampler(base)
    whole = sampler.sample(TEXTS, Sampling(max_tokens=10, temperature=0, stop_on_eos=False))
    for text, (sample,) in zip(TEXTS, whole, strict=True):
        ids = torch.tensor([text])
        options = {"do_sample": False, "max_new_tokens": 10, "eos_token_id": None, "pad_token_id": 0}
        want = base.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        assert list(sample.tokens) == want[0, len(text) :].tolist()
        assert sample.logprobs == pytest.approx(by_transformers(base.model, (*text, *sample.tokens))[-10:], abs=1e-4)
    stop = whole[1][0].tokens[2]
    stopped = sampler.sample(TEXTS, Sampling(max_tokens=10, temperature=0, stop=(stop,), stop_on_eos=False))
    for (long,), (short,) in zip(whole, stopped, strict=True):
        end = long.tokens.index(stop) + 1 if stop in long.tokens else 10
        assert short.tokens == long.tokens[:end]


@every_architecture
def test_groups_of_samples_have_the_log_probabilities_that_the_trainer_gives_them(kind: str) -> None:
    base = loaded(kind)
    trainer = Trainer(base, LORA)
    trainer.forward_backward([example(TEXTS[1])], "cross_entropy")
    trainer.optim_step(Adam(learning_rate=1e-2))
    drawn = Sampler(base, trainer.snapshot()).sample(TEXTS, Sampling(max_tokens=9, seed=1, stop=(7, 9)), num_samples=3)
    texts = [(*text, *sample.tokens) for text, group in zip(TEXTS, drawn, strict=True) for sample in group]
    judged = trainer.forward([example(text) for text in texts], "cross_entropy").logprobs
    for logprobs, sample in zip(judged, (one for group in drawn for one in group), strict=True):
        assert logprobs[-len(sample.tokens) :] == pytest.approx(sample.logprobs, abs=2e-4)


@every_architecture
def test_an_adapter_goes_to_peft_and_comes_back(kind: str, tmp_path: Path) -> None:
    base = loaded(kind)
    trainer = Trainer(base, attrs.evolve(LORA, target=("all-attention", "gate_up_proj")) if kind in RENAMED else LORA)
    for _ in range(2):
        trainer.forward_backward([example(TEXTS[1])], "cross_entropy")
        trainer.optim_step(Adam(learning_rate=1e-2))
    trainer.export_adapter(tmp_path / "ours")
    theirs = PeftModel.from_pretrained(architecture(kind).model, str(tmp_path / "ours")).eval()
    theirs.save_pretrained(str(tmp_path / "theirs"), save_embedding_layers=False)
    sampler = Sampler(base, read_adapter(tmp_path / "theirs"))
    for text in TEXTS[:3]:
        ours = trainer.forward([example(text)], "cross_entropy").logprobs[0]
        assert ours != pytest.approx(by_transformers(base.model, text), abs=1e-3)
        assert ours == pytest.approx(by_transformers(theirs, text), abs=2e-4)
        assert ours == pytest.approx(sampler.logprobs([text])[0][1:], abs=2e-4)
    adapted = sum(a.numel() + b.numel() for a, b in trainer.snapshot().tensors.values())
    assert adapted == sum(one.numel() for name, one in theirs.named_parameters() if "lora_" in name)


def test_the_engine_names_what_is_tested_here() -> None:
    assert sorted(ARCHITECTURES) == sorted(TESTED)


def test_the_page_on_models_names_them_too() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(TESTED)


class TestATrial:
    """What is not tested here is tried before it is used."""

    @pytest.fixture(autouse=True)
    def nothing_is_tested(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crucible.engine.trial.TESTED", frozenset())

    @pytest.mark.parametrize("kind", FEW)
    def test_lets_pass_what_is_right(self, kind: str) -> None:
        require_decoding(loaded(kind).model, plain=False)

    def test_lets_pass_what_learns(self) -> None:
        for kind in ("llama", "qwen3_next", "gpt2", "doge"):
            trainer = Trainer(architecture(kind), LORA)
            with pytest.raises(NoGradientError):
                trainer.optim_step(Adam())

    def test_finds_adapters_that_would_not_learn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("crucible.engine.targets._READ_PAST", {})
        with pytest.raises(UnsupportedModelError, match=r"'mamba'.* reads the weights of .*\.dt_proj.* past"):
            Trainer(architecture("mamba"), LORA)

    def test_finds_what_can_pack(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert can_pack(architecture("llama").model)
        monkeypatch.setattr("crucible.engine.trial.DROPS_SEGMENTS", frozenset())
        assert not can_pack(architecture("nemotron").model)

    @pytest.mark.parametrize("kind", UNSAMPLED)
    def test_refuses_what_keeps_its_state_elsewhere(self, kind: str) -> None:
        base = architecture(kind)
        Trainer(base, LORA).forward_backward([example(TEXTS[0])], "cross_entropy")
        with pytest.raises(UnsupportedModelError, match=f"of type '{kind}'.* trains and cannot be sampled"):
            Sampler(base)
