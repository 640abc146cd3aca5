"""Rules of thumb for learning rates."""

from typing import Literal, TypeAlias

ModelFamily: TypeAlias = Literal["llama", "qwen", "kimi", "other"]

LORA_TO_FULL = 10.0
"""How much larger the best learning rate is with LoRA than without, whatever the rank.

Schulman and Thinking Machines 2025, "LoRA without regret", https://thinkingmachines.ai/blog/lora.
"""

_EXPONENTS: dict[ModelFamily, float] = {"llama": 0.781, "qwen": 0.0775, "kimi": 0.0775, "other": 0.5}


def full_learning_rate(hidden_size: int, *, family: ModelFamily = "other") -> float:
    """Give 5e-5 (2000 / hidden_size)^exponent: a learning rate for full supervised fine-tuning with Adam.

    The fit of tinker-cookbook (`hyperparam_utils.get_lr`), whose exponent is 0.781 for Llama and 0.0775 for Qwen; the
    earlier Crucible takes that of Qwen for Kimi, and 0.5 for all others, which is a guess.

    >>> full_learning_rate(2000)
    5e-05

    Raises: ValueError when the size is not positive.
    """
    if hidden_size < 1:
        raise ValueError(f"a model's hidden size is at least 1, not {hidden_size}")
    return float(5e-5 * (2000 / hidden_size) ** _EXPONENTS[family])


def lora_learning_rate(hidden_size: int, *, family: ModelFamily = "other") -> float:
    """Give ten times `full_learning_rate`: a learning rate for fine-tuning with LoRA.

    >>> round(lora_learning_rate(4096, family="llama"), 7), round(lora_learning_rate(4096, family="qwen"), 7)
    (0.0002856, 0.000473)
    """
    return LORA_TO_FULL * full_learning_rate(hidden_size, family=family)


def lora_parameters(rank: int, shapes: tuple[tuple[int, int], ...]) -> int:
    """Count the numbers that LoRA of this rank trains: rank (in + out) for each layer of (in, out) it adapts.

    >>> lora_parameters(8, ((4096, 4096), (4096, 1024)))
    106496
    """
    return sum(rank * (size_in + size_out) for size_in, size_out in shapes)
