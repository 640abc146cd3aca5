"""How preference learning is configured."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_1, NOT_EMPTY, Limits, checked, within
from crucible.kitchen.config import Reference, TrainingConfig, unread
from crucible.train.types import DatasetConfig, Feature

PreferenceLossName: TypeAlias = Literal["dpo", "ipo", "simpo", "orpo", "kto", "bradley_terry"]
_WITHOUT_REFERENCE = frozenset({"simpo", "orpo", "bradley_terry"})


@attrs.frozen(kw_only=True, field_transformer=checked)
class PreferenceConfig(TrainingConfig):
    """A preference run: a training run on pairs of answers.

    Args:
        loss: which loss on pairs. `kto` takes their answers one by one, with answers to other prompts beside them to tell how far
            the policy went. `bradley_terry` makes a reward model: the log-probability of a completion's last message is its
            reward, so let completions end in a verdict, the same one for chosen and rejected, to have answers judged.
        beta: how strongly it holds to the reference; of `bradley_terry` what a nat of log-probability is worth.
        label_smoothing: of DPO: the share of labels that are wrong.
        reference_path: sampler weights of the reference policy; None is the policy with which training begins, `start_from` or
            the model without adapters. A resumed run keeps the reference that it began with.
        reference_batch: sequences in one request to the reference.
        held_out: rows of pairs to rank before, after and every `eval_every` steps, None not to; `evaluation` measures answers.
    """

    loss: PreferenceLossName = "dpo"
    beta: float = attrs.field(default=0.1, metadata=ABOVE_0)
    label_smoothing: float = attrs.field(default=0.0, metadata=within(Limits(at_least=0, below=0.5)))
    reference_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    reference_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    held_out: DatasetConfig | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the run measures itself, on pairs or on answers."""
        return super().is_measured or self.held_out is not None

    @property
    def needs(self) -> tuple[Feature, ...]:
        """Losses of its own, and a reference that scores answers where the loss compares with one."""
        return ("custom_losses",) if self.loss in _WITHOUT_REFERENCE else ("custom_losses", "prompt_logprobs")

    def reference(self) -> Reference | None:
        """Give the policy that answers are compared with; some losses need none."""
        return None if self.loss in _WITHOUT_REFERENCE else Reference(weights_path=self.reference_path)

    def not_held_out(self) -> Sequence[str]:
        """Name what the run measures itself on although it was trained on."""
        if self.held_out == self.dataset:
            return (*super().not_held_out(), "held_out is the training dataset and split: hold out another split")
        return super().not_held_out()

    def impossible(self) -> Sequence[str]:
        """Name what no run can do, and what would do nothing."""
        problems = list(super().impossible())
        if self.held_out is not None and self.held_out.streaming:
            problems.append(
                "held_out.streaming is on, but all pairs are ranked, so a stream is read to the end: leave it out"
            )
        if self.loss != "dpo":
            problems += unread(self, "label_smoothing", because=f"only dpo smooths labels, not {self.loss}")
        if self.loss in _WITHOUT_REFERENCE:
            problems += unread(self, "reference_path", because=f"{self.loss} asks no reference for anything")
        return tuple(problems)
