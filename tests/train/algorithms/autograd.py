"""Custom losses held against torch: the same formula in float64, differentiated by autograd."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from crucible.train.custom_loss import CustomLoss

Rows = tuple[tuple[float, ...], ...]

logprobs = st.floats(-30, 0)
sane = st.floats(-5, 0)
extreme = st.floats(-1e12, 0)


def rows_like(shape: Sequence[int], values: st.SearchStrategy[float]) -> st.SearchStrategy[Rows]:
    """Give rows of numbers of some lengths."""
    return st.tuples(*(st.tuples(*([values] * size)) for size in shape))


def tensors(rows: Sequence[Sequence[float]]) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


def assert_differentiates(loss: CustomLoss, reference: Callable[[list[Tensor]], Tensor], at: Rows) -> None:
    """Check value and derivatives of a loss against autograd's of the reference."""
    found = loss(at)
    leaves = [leaf.requires_grad_() for leaf in tensors(at)]
    expected = reference(leaves)
    gradients = torch.autograd.grad(expected, leaves, allow_unused=True, materialize_grads=True)
    assert found.loss == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
    for row, gradient in zip(found.gradients, gradients, strict=True):
        assert row == pytest.approx(gradient.tolist(), rel=1e-9, abs=1e-12)
