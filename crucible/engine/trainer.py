"""The trainer: one LoRA adapter on a frozen model, with its optimizer. One trainer belongs to one thread at a time.

Everything random (the initial adapter, dropout) comes from the adapter's seed through the trainer's own generator, so
equal calls give equal bits on a CPU with one thread, whatever else the process draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import torch

from crucible.engine.adam import AdamState, adam_update, clip_factor, global_norm
from crucible.engine.attention import use_packed_attention
from crucible.engine.batch import CheckedExample, Limits, Positions, check_examples
from crucible.engine.checkpoint import adapter_files, read_training, training_files
from crucible.engine.custom_loss import CustomLoss, run_custom, with_weights
from crucible.engine.durable import write_directory
from crucible.engine.errors import NoGradientError, NonFiniteGradientError
from crucible.engine.loading import LoadedModel
from crucible.engine.lora import AdapterWeights, attach, copy_weights, share_tree
from crucible.engine.losses import CROSS_ENTROPY, find_loss
from crucible.engine.passes import Setting, TokenTerms, run_pass
from crucible.engine.precision import bfloat16_is_native
from crucible.engine.training_state import Mutable, parameters_of, restore, state_tensors
from crucible.engine.trial import can_pack, require_adapters
from crucible.engine.values import Adam, Example, LoraSpec, LossOutput, StepOutput

NO_CONFIG: Mapping[str, float] = MappingProxyType({})
NO_METADATA: Mapping[str, str] = MappingProxyType({})


class Trainer:
    """Trains one LoRA adapter.

    Args:
        loaded: the frozen base; shared, never changed.
        lora: shape, targets and seed of the adapter.
        autocast: compute in bfloat16 where the device has instructions for it (elsewhere it was measured 8 times slower). It
            is faster, and its rounding swallows small updates; without it, results are those of any machine.
        device: where to train; None is where the base is. Another device gets a copy of the base.
        micro_batch_tokens: tokens in one forward pass, which bounds memory: about 1.5 MB a token for a model of
            135M parameters, plus 12 bytes for each scored token and vocabulary entry. A prompt that several examples
            share is computed once within a micro-batch, so long shared prompts want more.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        lora: LoraSpec,
        *,
        autocast: bool = False,
        device: torch.device | str | None = None,
        micro_batch_tokens: int = 1024,
    ) -> None:
        self._loaded, self._spec = loaded, lora
        tree = share_tree(loaded.model)
        model = tree if device is None else tree.to(device)
        where: torch.device = next(model.parameters()).device
        native = autocast and bfloat16_is_native(where)
        generator = torch.Generator(device=where).manual_seed(lora.seed)
        layers = attach(model, lora, generator, weight_dtype=torch.bfloat16 if native else None)
        require_adapters(model, layers)
        packable = can_pack(model)
        if packable:
            use_packed_attention(model)
        limits = Limits(
            max_length=loaded.max_length,
            vocab_size=loaded.vocab_size,
            micro_batch_tokens=micro_batch_tokens,
            packable=packable,
        )
        self._setting = Setting(model=model, limits=limits, device=where, autocast=native)
        self._state = Mutable(layers=layers, adam=AdamState(parameters_of(layers)), generator=generator)
        self._set_dropout(on=True)
        self.step = 0

    def forward(
        self,
        examples: Sequence[Example],
        loss_fn: str,
        loss_config: Mapping[str, float] = NO_CONFIG,
        *,
        positions: Positions = "trained",
    ) -> LossOutput:
        """Compute a loss without gradients and without dropout; accumulated gradients stay as they are.

        Args:
            positions: "all" also gives the logprobs of positions that are not trained (and then a batch without a
                trained token is fine).

        Raises:
            BatchError, LossError: see `errors`.
        """
        checked, terms = self._prepared(examples, loss_fn, loss_config, positions)
        self._set_dropout(on=False)
        try:
            with torch.no_grad():
                return run_pass(self._setting, checked, terms, backward=False)
        finally:
            self._set_dropout(on=True)

    def forward_backward(
        self, examples: Sequence[Example], loss_fn: str, loss_config: Mapping[str, float] = NO_CONFIG
    ) -> LossOutput:
        """Compute a loss and add its gradient to what is accumulated since the last step.

        An error after computation began (a non-finite loss, out of memory, an interrupt) sets all accumulated
        gradients to zero, those of earlier calls too; weights and moments are unharmed.

        Raises:
            BatchError, LossError: see `errors`.
        """
        checked, terms = self._prepared(examples, loss_fn, loss_config, "trained")
        with self._all_or_nothing():
            return run_pass(self._setting, checked, terms, backward=True)

    def forward_backward_custom(self, examples: Sequence[Example], fn: CustomLoss) -> LossOutput:
        """Accumulate the gradient of any function of the logprobs.

        Args:
            examples: loss inputs are `target_tokens` and optionally `weights` (zero: not scored, logprob 0.0).
            fn: from one logprob tensor of shape (N,) for each example to (scalar loss, metrics).

        Raises:
            BatchError, LossError: see `errors`.
        """
        checked = check_examples(with_weights(examples), CROSS_ENTROPY, self._setting.limits, "trained")
        with self._all_or_nothing():
            return run_custom(self._setting, checked, fn, self._state.generator)

    def optim_step(self, adam: Adam) -> StepOutput:
        """Apply the accumulated gradient with AdamW, then drop it.

        Raises:
            NoGradientError: nothing was accumulated. NonFiniteGradientError: gradients dropped, nothing updated.
        """
        parameters = self._state.parameters
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        if all(one.grad is None for one in parameters):
            raise NoGradientError("no gradient is accumulated: call forward_backward before optim_step")
        norm = global_norm(gradients)
        self._drop_gradients()
        if not math.isfinite(norm):
            raise NonFiniteGradientError(f"the gradient norm is {norm}; gradients were dropped, nothing was updated")
        if (factor := clip_factor(norm, adam.grad_clip_norm)) < 1:
            torch._foreach_mul_(gradients, factor)
        adam_update(parameters, gradients, self._state.adam, adam)
        self.step += 1
        return StepOutput(grad_norm=norm, learning_rate=adam.learning_rate, step=self.step)

    def snapshot(self) -> AdapterWeights:
        """Return an immutable copy of the adapter: the policy as of now."""
        return copy_weights(self._state.layers, self._spec, base=self._loaded.fingerprint, step=self.step)

    def save(self, directory: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Replace `directory` by a checkpoint: adapter, moments, pending gradients, dropout stream, step, and `metadata`.

        The directory is whole at every moment (see `durable`).

        Raises:
            CheckpointError: the file system refused; the previous checkpoint there is whole.
        """
        state, updates = state_tensors(self._state), self._state.adam.count
        files = training_files(self.snapshot(), self._loaded.name, num_updates=updates, state=state, metadata=metadata)
        write_directory(Path(directory), files)

    def load(self, directory: Path, *, with_optimizer: bool = True) -> Mapping[str, str]:
        """Take over a checkpoint, and give what was kept with it; on any error the trainer is as before.

        Args:
            with_optimizer: False starts with fresh moments and no pending gradients.

        Raises:
            CheckpointNotFoundError, CheckpointMismatchError, CheckpointError (damaged).
        """
        checkpoint = read_training(Path(directory))
        base = self._loaded.fingerprint
        restore(self._state, checkpoint, base=base, spec=self._spec, with_optimizer=with_optimizer)
        self.step = checkpoint.weights.step
        return checkpoint.metadata

    def export_adapter(self, directory: Path) -> None:
        """Replace `directory` by the adapter in peft's format, as atomically as `save`. Raises: CheckpointError."""
        write_directory(Path(directory), adapter_files(self.snapshot(), self._loaded.name))

    def _prepared(
        self, examples: Sequence[Example], loss_fn: str, loss_config: Mapping[str, float], positions: Positions
    ) -> tuple[list[CheckedExample], TokenTerms]:
        loss = find_loss(loss_fn)
        config = loss.configured(loss_config)
        checked = check_examples(examples, loss, self._setting.limits, positions)
        return checked, lambda batch, logprobs_T: loss.token_loss(logprobs_T, batch.inputs_T, config)

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._drop_gradients()
            raise

    def _drop_gradients(self) -> None:
        for parameter in self._state.parameters:
            parameter.grad = None

    def _set_dropout(self, *, on: bool) -> None:
        for layer in self._state.layers.values():
            layer.train(on)
