"""An adapter in bfloat16 moves the model as far as it does in float32, however small its deltas are."""

import copy
from pathlib import Path

import attrs
import pytest
import torch
from torch import nn

from crucible.engine import Adam, Example, LoadedModel, LoraSpec, Sampler, Sampling, Trainer, wrap_model
from crucible.engine.lora import LoraLinear
from crucible.engine.one_product import AdaptedLinear, one_product
from tests.engine.tiny import LORA, example

TEXTS = """The tide had turned before the harbour master finished his tea, and the three boats that were moored along the northern
wall began to swing slowly round on their chains. Nobody in the village paid any attention to it; the weather had been fair for
eleven days, and the older men said that it would be fair for at least as many more. Only the girl who kept the lamp noticed that
the gulls had gone inland, and that the water between the boats was the colour of slate and very still.

To compute the determinant of a three by three matrix, first choose a row or a column, preferably one that has zeros in it.
Multiply each entry of that row by the determinant of the two by two matrix which remains when its row and its column are crossed
out, give the products alternating signs, and add them. For a triangular matrix no work is needed at all, because the determinant
is the product of the entries on the diagonal, and exchanging two rows changes nothing but the sign of it."""
TOKENS, INPUTS, OUTPUTS, RANK = 512, 64, 48, 4


@pytest.fixture(scope="module")
def pair(tiny: LoadedModel) -> tuple[LoadedModel, LoadedModel]:
    """Give a tiny model in bfloat16, and in float32 with the very same weights, which is the judge."""
    short = in_bfloat16(tiny)
    return short, wrap_model(copy.deepcopy(short.model).float(), tiny.tokenizer, name="judge")


def in_bfloat16(loaded: LoadedModel) -> LoadedModel:
    """Give a model with its weights rounded."""
    return wrap_model(copy.deepcopy(loaded.model).bfloat16(), loaded.tokenizer, name="short")


def layer(*, bias: bool = False, dropout: float = 0.0, size: float = 1.0) -> LoraLinear:
    """Make an adapted bfloat16 layer whose B is `size` times a random one."""
    draw = torch.Generator().manual_seed(0)
    linear = nn.Linear(INPUTS, OUTPUTS, bias=bias)
    linear.weight = nn.Parameter(torch.randn(OUTPUTS, INPUTS, generator=draw).bfloat16(), requires_grad=False)
    if linear.bias is not None:
        linear.bias.requires_grad_(False)  # torch names it so
    adapted = LoraLinear(linear, LoraSpec(rank=RANK, alpha=2 * RANK, dropout=dropout), draw, torch.bfloat16)
    adapted.lora_A.data.copy_(torch.randn(RANK, INPUTS, generator=draw))
    adapted.lora_B.data.copy_(size * torch.randn(OUTPUTS, RANK, generator=draw))
    return adapted


def inference_of(trained: LoraLinear) -> AdaptedLinear:
    """Make the layer that samples of the one that trains."""
    linear = nn.Linear(INPUTS, OUTPUTS, bias=trained.bias is not None)
    linear.weight = trained.weight
    if trained.bias is not None:
        linear.bias = trained.bias
    return AdaptedLinear(linear, trained.lora_A.detach(), 2 * trained.lora_B.detach())


def share_shown(adapted: nn.Module, trained: LoraLinear) -> float:
    """Give how much of the adapter's delta is in the outputs of a layer: 1.0 for all, 0.0 for none."""
    inputs = torch.randn(TOKENS, INPUTS, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.no_grad():
        plain = nn.functional.linear(inputs, trained.weight, trained.bias).double()
        delta = 2 * inputs.double() @ trained.lora_A.double().t() @ trained.lora_B.double().t()
        moved = adapted(inputs).double() - plain
    return float((moved * delta).sum() / (delta * delta).sum())


class TestTheLayer:
    @pytest.mark.parametrize("size", [3e-4, 1e-3, 1e-2, 1.0])
    def test_shows_the_whole_delta_on_average(self, size: float) -> None:
        trained = layer(size=size)
        assert share_shown(trained, trained) == pytest.approx(1.0, abs=0.05)

    @pytest.mark.parametrize("size", [3e-4, 1e-3, 1e-2, 1.0])
    def test_shows_it_in_the_sampler_too(self, size: float) -> None:
        trained = layer(size=size)
        assert share_shown(inference_of(trained), trained) == pytest.approx(1.0, abs=0.05)

    def test_is_the_same_in_both(self) -> None:
        trained = layer(bias=True)
        assert trained.bias is not None
        trained.bias.data = trained.bias.data.bfloat16()
        inputs = torch.randn(2, 7, INPUTS).bfloat16()
        assert torch.equal(trained(inputs), inference_of(trained)(inputs))

    def test_keeps_the_shape_and_the_bias(self) -> None:
        with_bias, without = layer(bias=True, size=0.0), layer(size=0.0)
        inputs = torch.zeros(2, 7, INPUTS).bfloat16()
        assert with_bias.bias is not None
        assert torch.equal(with_bias(inputs), with_bias.bias.bfloat16().expand(2, 7, -1))
        assert not without(inputs).any()

    def test_drops_inputs_of_the_adapter_alone(self) -> None:
        dropping, keeping = layer(dropout=0.5), layer()
        inputs = torch.randn(3, INPUTS).bfloat16()
        assert not torch.equal(dropping.train()(inputs), keeping(inputs))
        assert torch.equal(dropping.eval()(inputs), keeping(inputs))


def test_the_gradients_are_those_of_the_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = ((5, 4), (5, 2), (3, 4), (3,), (3, 2))
    x, z, weight, bias, scaled_B = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes)
    wanted = [one.requires_grad_() for one in (x, z, scaled_B)]
    assert torch.autograd.gradcheck(lambda x, z, b: one_product(x, z, weight, bias, b), wanted)
    assert torch.allclose(one_product(x, z, weight, None, scaled_B), x @ weight.t() + z @ scaled_B.t())


def batch(length: int = 100, count: int = 16) -> list[Example]:
    """Make random texts, each token of weight 1."""
    made = [example(length, seed=seed) for seed in range(count)]
    return [attrs.evolve(one, loss_inputs={**one.loss_inputs, "weights": [1.0] * length}) for one in made]


def mean_loss(trainer: Trainer, examples: list[Example]) -> float:
    """Judge by a trainer's forward pass, in nats a token."""
    return trainer.forward(examples, "cross_entropy").loss / sum(len(one.tokens) for one in examples)


def mean_loss_of(sampler: Sampler, examples: list[Example]) -> float:
    """Judge by a sampler, in nats a token."""
    rows = sampler.logprobs([(*one.tokens, int(one.loss_inputs["target_tokens"][-1])) for one in examples])
    found = [logprob for row in rows for logprob in row if logprob is not None]
    return -sum(found) / len(found)


def young(judge: LoadedModel, lora: LoraSpec, examples: list[Example], rate: float, folder: Path) -> Trainer:
    """Train an adapter for six steps in float32, and save it."""
    trainer = Trainer(judge, lora)
    for _ in range(6):
        trainer.forward_backward(examples, "cross_entropy")
        trainer.optim_step(Adam(learning_rate=rate))
    trainer.save(folder)
    return trainer


def test_a_young_adapter_is_as_strong_as_in_float32(
    pair: tuple[LoadedModel, LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, judge = pair
    examples = batch()
    before = mean_loss(Trainer(judge, LORA), examples)
    exact = young(judge, LORA, examples, 3e-5, tmp_path / "young")
    gain = before - mean_loss(exact, examples)
    assert gain > 1e-3
    monkeypatch.setattr("crucible.engine.trainer.bfloat16_is_native", lambda device: True)
    for trainer in (Trainer(short, LORA), Trainer(judge, LORA, autocast=True)):
        base = mean_loss(trainer, examples)
        trainer.load(tmp_path / "young")
        assert (base - mean_loss(trainer, examples)) / gain == pytest.approx(1.0, abs=0.2)
    sampler = Sampler(short, exact.snapshot())
    sampled = mean_loss_of(Sampler(short), examples) - mean_loss_of(sampler, examples)
    assert sampled / gain == pytest.approx(1.0, abs=0.2)


def test_what_is_decoded_has_the_logprobs_that_the_trainer_gives(
    pair: tuple[LoadedModel, LoadedModel], tmp_path: Path
) -> None:
    short, judge = pair
    exact = young(judge, LORA, batch(count=4), 1e-3, tmp_path / "young")
    trainer = Trainer(short, LORA)
    trainer.load(tmp_path / "young")
    prompt = example(12).tokens
    groups = Sampler(short, exact.snapshot()).sample(
        [prompt], Sampling(max_tokens=24, stop_on_eos=False), num_samples=3
    )
    for sample in groups[0]:
        sequence = (*prompt, *sample.tokens)
        one = Example(
            tokens=sequence[:-1],
            loss_inputs={"target_tokens": sequence[1:], "weights": [1.0] * (len(sequence) - 1)},
        )
        trained = trainer.forward([one], "cross_entropy").logprobs[0][len(prompt) - 1 :]
        assert sample.logprobs == pytest.approx(trained, abs=0.05)


@pytest.mark.slow
def test_a_young_adapter_of_a_real_model_is_as_strong_as_in_float32(smollm: LoadedModel, tmp_path: Path) -> None:
    examples = []
    for text in TEXTS.split("\n\n"):
        ids = smollm.tokenizer(text.replace("\n", " "))["input_ids"][:97]
        examples.append(
            Example(tokens=tuple(ids[:-1]), loss_inputs={"target_tokens": ids[1:], "weights": [1.0] * (len(ids) - 1)})
        )
    lora = LoraSpec(rank=16, alpha=32)
    before = mean_loss(Trainer(smollm, lora), examples)
    exact = young(smollm, lora, examples, 1e-4, tmp_path / "young")
    judged = mean_loss(exact, examples)
    assert before - judged > 0.3
    short = in_bfloat16(smollm)
    trainer = Trainer(short, lora)
    trainer.load(tmp_path / "young")
    assert mean_loss(trainer, examples) == pytest.approx(judged, abs=0.005)
    assert mean_loss_of(Sampler(short, exact.snapshot()), examples) == pytest.approx(judged, abs=0.005)
