"""What a LoRA target means in each architecture, and layers that are no plain linear ones."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from crucible.engine import (
    ALL_ATTENTION,
    ALL_LINEAR,
    ALL_MLP,
    OUTPUT_HEAD,
    Adam,
    LoadedModel,
    LoraSpec,
    LoraTargetError,
    Sampler,
    Trainer,
    read_adapter,
    wrap_model,
)
from crucible.engine.targets import find_targets
from tests.engine.architectures import ARCHITECTURES, architecture
from tests.engine.tiny import example, tiny_model, tiny_tokenizer

SPEC = LoraSpec(rank=2, alpha=8)


class Halved(nn.Linear):
    """A linear layer that does something else than its matrix says."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) / 2


class Scored(nn.Linear):
    """A router: it gives choices beside scores."""

    def forward(self, inputs: Tensor) -> Any:  # Any: no layer's output
        scores = super().forward(inputs)
        return scores, scores.argmax(-1)


def with_layer(kind: type[nn.Linear]) -> LoadedModel:
    """Give the tiny Llama with an output projection of another class."""
    model = tiny_model().model
    old = model.model.layers[1].self_attn.o_proj
    new = kind(old.in_features, old.out_features, bias=False)
    new.weight = old.weight
    model.model.layers[1].self_attn.o_proj = new
    return wrap_model(model, tiny_tokenizer(), name="mixed")


def leaves(kind: str, *target: str) -> set[str]:
    found = find_targets(architecture(kind).model, target)
    return {getattr(one, "dotted", one.name).rpartition(".")[2] for one in found}


class TestGroups:
    @pytest.mark.parametrize(
        ("kind", "attention", "mlp"),
        [
            ("llama", {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}),
            ("qwen3_moe", {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_up_proj", "down_proj"}),
            ("gpt2", {"c_attn", "c_proj"}, {"c_fc", "c_proj"}),
            ("opt", {"q_proj", "k_proj", "v_proj", "out_proj"}, {"fc1", "fc2"}),
            ("phi3", {"qkv_proj", "o_proj"}, {"gate_up_proj", "down_proj"}),
            ("lfm2", {"in_proj", "out_proj", "q_proj", "k_proj", "v_proj"}, {"w1", "w2", "w3"}),
            ("nemotron_h", {"in_proj", "q_proj", "k_proj", "v_proj", "o_proj"}, {"up_proj", "down_proj"}),
        ],
    )
    def test_divide_the_layers(self, kind: str, attention: set[str], mlp: set[str]) -> None:
        assert leaves(kind, *ALL_ATTENTION) == attention
        assert leaves(kind, *ALL_MLP) == mlp

    @pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ARCHITECTURES])
    def test_together_are_all_layers_but_the_head(self, kind: str) -> None:
        model = architecture(kind).model
        every = find_targets(model, ALL_LINEAR)
        assert find_targets(model, (*ALL_ATTENTION, *ALL_MLP)) == every
        assert len(find_targets(model, (*ALL_LINEAR, *OUTPUT_HEAD))) == len(every) + 1

    def test_that_a_model_has_not_are_refused(self) -> None:
        with pytest.raises(LoraTargetError, match=r"no linear layer is all-mlp; this model has: .*in_proj"):
            Trainer(architecture("mamba"), attrs.evolve(SPEC, target=ALL_MLP))


def test_a_layer_whose_matrix_is_read_past_it_gets_no_adapter() -> None:
    assert leaves("mamba", *ALL_LINEAR) == {"in_proj", "x_proj"}
    with pytest.raises(LoraTargetError, match="no linear layer is dt_proj"):
        find_targets(architecture("jamba").model, ("dt_proj",))


class TestALayerWithAForwardOfItsOwn:
    def test_keeps_it(self, tmp_path: Path) -> None:
        base, text = with_layer(Halved), example(20)
        trainer = Trainer(base, SPEC)
        before = trainer.forward([text], "cross_entropy").logprobs[0]
        assert [list(before)] == [one[1:] for one in Sampler(base).logprobs([tokens(text)])]
        for _ in range(2):
            trainer.forward_backward([text], "cross_entropy")
            trainer.optim_step(Adam(learning_rate=1e-2))
        assert any(
            b.any() for name, (_, b) in trainer.snapshot().tensors.items() if name.endswith("1.self_attn.o_proj")
        )
        after = trainer.forward([text], "cross_entropy").logprobs[0]
        assert after != pytest.approx(before, abs=0.01)
        trainer.export_adapter(tmp_path / "adapter")
        sampler = Sampler(base, read_adapter(tmp_path / "adapter"))
        assert sampler.logprobs([tokens(text)])[0][1:] == pytest.approx(after, abs=1e-4)

    def test_is_left_alone_where_it_gives_more_than_a_tensor(self) -> None:
        model = with_layer(Scored).model
        names = [one.name for one in find_targets(model, ALL_ATTENTION)]
        assert "model.layers.0.self_attn.o_proj" in names
        assert "model.layers.1.self_attn.o_proj" not in names
        with pytest.raises(LoraTargetError, match=r"no linear layer is model\.layers\.1\.self_attn\.o_proj"):
            find_targets(model, ("model.layers.1.self_attn.o_proj",))


class TestExperts:
    def test_learn(self) -> None:
        trainer = Trainer(architecture("qwen3_moe"), attrs.evolve(SPEC, target=ALL_MLP))
        text = example(20, vocab=90)
        losses = []
        for _ in range(8):
            losses.append(trainer.forward_backward([text], "cross_entropy").loss)
            trainer.optim_step(Adam(learning_rate=3e-2))
        assert losses[-1] < 0.7 * losses[0]

    def test_are_saved_and_loaded(self, tmp_path: Path) -> None:
        first, second = (Trainer(architecture("gpt_oss"), SPEC) for _ in range(2))
        text = example(20, vocab=90)
        first.forward_backward([text], "cross_entropy")
        first.optim_step(Adam(learning_rate=1e-2))
        first.save(tmp_path / "checkpoint")
        second.load(tmp_path / "checkpoint")
        for trainer in (first, second):
            trainer.forward_backward([text], "cross_entropy")
            trainer.optim_step(Adam(learning_rate=1e-2))
        mine, theirs = first.snapshot(), second.snapshot()
        assert mine.parameters == theirs.parameters
        assert mine.parameters[:2] == tuple(
            f"model.layers.0.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")
        )
        assert all(
            torch.equal(mine.tensors[name][part], theirs.tensors[name][part])
            for name in mine.tensors
            for part in (0, 1)
        )

    def test_have_no_dropout(self) -> None:
        with pytest.raises(LoraTargetError, match=r"experts\.gate_up_proj holds experts, .*dropout: set it to 0"):
            Trainer(architecture("mixtral"), attrs.evolve(SPEC, dropout=0.1))

    def test_kept_in_flat_matrices_are_refused(self) -> None:
        class FlatExperts(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w1 = nn.Parameter(torch.zeros(8, 4))

        model = tiny_model().model
        model.model.layers[0].mlp.experts = FlatExperts()
        with pytest.raises(LoraTargetError, match=r"mlp\.experts \(FlatExperts\) keeps its experts .*train_mlp=False"):
            find_targets(model, ALL_LINEAR)
        assert find_targets(model, ALL_ATTENTION)


def tokens(text: Any) -> list[int]:  # Any: an example
    return [*text.tokens, int(text.loss_inputs["target_tokens"][-1])]
