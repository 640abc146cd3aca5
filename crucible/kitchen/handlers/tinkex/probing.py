"""What a Tinker server can do, found out on a model of its own whose weights do not move.

Gradients are compared by the norm that an optimizer step of learning rate 0 tells. Letters: a datum of N positions whose
weights are all 1 is the unit; nothing but ratios to its norm is looked at.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import attrs

from crucible.effects import Failure, Success
from crucible.kitchen.handlers.tinkex.config import HOSTED, TinkerConfig
from crucible.kitchen.handlers.tinkex.errors import About, guarded
from crucible.kitchen.handlers.tinkex.restoring import lora_arguments
from crucible.kitchen.handlers.tinkex.secrecy import keep_secrets
from crucible.kitchen.handlers.tinkex.summing import UNCLIPPED
from crucible.kitchen.handlers.tinkex.wire import adam_to, data_to, input_to, stepped_of
from crucible.train.errors import Unavailable
from crucible.train.types import (
    AdamParams,
    Capabilities,
    Datum,
    Divisor,
    LoraConfig,
    LossReduction,
    ModelInput,
    TensorData,
)

if TYPE_CHECKING:
    import tinker

T = TypeVar("T")

N = 4
STILL = AdamParams(learning_rate=0.0)
TOLERANCE = 0.1
"""How far a ratio may be from what it is taken for: servers that compute in bfloat16 are off by hundredths."""


@attrs.define
class Probe:
    """One probe: until when it may take, what it cost, and whether an answer did not come, which is no refusal."""

    config: TinkerConfig
    model: str
    until: float
    num_requests: int = 0
    unanswered: bool = False
    notes: list[str] = attrs.field(factory=list)

    def ask(self, what: str, call: Callable[[float], T], *, requests: int = 1) -> T | None:
        """Do something within the time that is left; None, and a note, when it fails."""
        self.num_requests += requests
        left = self.until - time.monotonic()
        if left <= 0:
            self.notes.append(f"{what}: the time for the probe was up")
            self.unanswered = True
            return None
        done = guarded(lambda: call(left), About(kind="model", name=self.model))
        if isinstance(done, Failure):
            self.notes.append(self.config.without_key(f"{what}: {done.failure()}"))
            self.unanswered |= isinstance(done.failure(), Unavailable)
            return None
        return done.unwrap()

    def there(self, answer: T | None, is_good: Callable[[T], bool]) -> bool | None:
        """Say whether a server has what it answered with; None where it did not answer."""
        if answer is None:
            return None if self.unanswered else False
        return is_good(answer)


def probed(config: TinkerConfig, model: str, backend: str) -> Capabilities:
    """Ask a server, at most `config.probe_seconds` long; blocks. What fails is noted, and what it was to tell not known."""
    keep_secrets(config)
    began = time.monotonic()
    probe = Probe(config=config, model=model, until=began + config.probe_seconds)
    found = Capabilities(
        backend=backend,
        known_by="probed",
        trains=None,
        loss_reduction="unknown",
        negative_weights=None,
        divided_by=None,
        prompt_logprobs=None,
        top_logprobs=None,
        idempotent_submit=None,
    )
    with _unlogged():
        found = _asked(probe, found)
    seconds = time.monotonic() - began
    return attrs.evolve(found, num_requests=probe.num_requests, seconds=seconds, notes=tuple(probe.notes))


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the SDK from logging, as an error, what a probe is refused: it is in the notes."""
    log = logging.getLogger("tinker.lib.retry_handler")

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno != logging.ERROR

    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)


def _asked(probe: Probe, found: Capabilities) -> Capabilities:
    """Ask in a session of its own, which ends with it."""
    import tinker

    config = probe.config
    service = probe.ask("a session", lambda _: tinker.ServiceClient(base_url=config.url, api_key=config.api_key))
    if service is not None:
        found = _of_training(probe, service, _of_sampling(probe, service, found))
        holder = service._get_session_holder()
        guarded(lambda: service.close("success").result(timeout=5), About(kind="session", name="the probe"))
        holder.close()  # servers older than the SDK know of no end of a session
    return found


def _of_sampling(probe: Probe, service: "tinker.ServiceClient", found: Capabilities) -> Capabilities:
    """Score one short text, and ask for what is likely in its places."""
    import tinker.types as wire

    client = probe.ask(
        "a sampler", lambda left: service.create_sampling_client(base_model=probe.model).future().result(timeout=left)
    )
    if client is None:
        return found
    text = input_to(ModelInput.from_tokens(_tokens(N)))
    scored = probe.ask("prompt logprobs", lambda left: client.compute_logprobs(text).future().result(timeout=left))
    one = wire.SamplingParams(max_tokens=1)
    top = probe.ask(
        "top logprobs", lambda left: client.sample(text, 1, one, topk_prompt_logprobs=2).future().result(timeout=left)
    )
    return attrs.evolve(
        found,
        prompt_logprobs=probe.there(scored, lambda numbers: len(numbers) >= N - 1 and None not in numbers[1:]),
        top_logprobs=probe.there(top, lambda answer: all((answer.topk_prompt_logprobs or (None, None))[1:])),
    )


def _of_training(probe: Probe, service: "tinker.ServiceClient", found: Capabilities) -> Capabilities:
    """Compare gradients; where cross-entropy is not the sum of its weights, of either sign, policy losses too."""
    arguments = lora_arguments(LoraConfig(rank=1))
    assert isinstance(arguments, Success)
    client = probe.ask(
        "a model",
        lambda left: service.create_lora_training_client(probe.model, **arguments.unwrap()).future().result(left),
    )
    if client is None:
        return found
    unit = _norm(probe, client, "cross-entropy", [_weighted(1.0)])
    if unit is None or math.isnan(unit):
        return _without_norms(probe, found, unit)
    found = attrs.evolve(found, trains=unit > 0)
    if not unit:
        return found
    double = _norm(probe, client, "weights of 2", [_weighted(2.0)])
    twice = _norm(probe, client, "the same datum twice", [_weighted(1.0)] * 2)
    opposite = _norm(probe, client, "weights below 0", [_weighted(1.0), _weighted(-1.0)])
    found = attrs.evolve(
        found,
        loss_reduction=reduction_of(unit, double, twice),
        negative_weights=probe.there(opposite, lambda norm: norm < TOLERANCE * unit),
    )
    is_plain = found.loss_reduction == "sum" and found.negative_weights
    divided_by = () if is_plain else _divisor(probe, client, found, unit)
    return attrs.evolve(found, divided_by=divided_by, idempotent_submit=_is_idempotent(probe, client))


def reduction_of(unit: float, double: float | None, twice: float | None) -> LossReduction:
    """Say what a server makes of the losses of tokens, from norms: of the unit, with weights of 2, and of two of the unit.

    >>> (
    ...     reduction_of(3.0, 6.0, 6.0),
    ...     reduction_of(3.0, 3.0, 3.0),
    ...     reduction_of(3.0, 6.0, 3.0),
    ...     reduction_of(3.0, None, 6.0),
    ... )
    ('sum', 'mean', 'other', 'unknown')
    """
    if double is None or twice is None:
        return "unknown"
    if _close(double, 2 * unit) and _close(twice, 2 * unit):
        return "sum"
    return "mean" if _close(double, unit) and _close(twice, unit) else "other"


def _divisor(
    probe: Probe, client: "tinker.TrainingClient", found: Capabilities, cross_entropy: float
) -> tuple[Divisor, ...] | None:
    """Say what policy losses are divided by; None where that is not by the shapes of the data alone."""
    given = {
        "a policy loss": [_judged(1.0)],
        "advantages of 2": [_judged(2.0)],
        "advantages below 0": [_judged(1.0), _judged(-1.0)],
        "a policy loss beside a longer datum": [_judged(1.0), _judged(0.0, extra=N)],
        "a policy loss of part of a datum": [_judged(1.0, extra=N)],
    }
    norms = [_norm(probe, client, what, data, is_policy=True) for what, data in given.items()]
    sound = [norm for norm in norms if norm is not None and math.isfinite(norm)]
    if len(sound) < len(norms):
        return None
    unit, double, opposite, beside, part = sound
    if not (unit > 0 and _close(double, 2 * unit) and opposite < TOLERANCE * unit):
        return None
    if not all(_close(norm, unit) or _close(norm, unit / 2) for norm in (beside, part)):
        return None
    positions: tuple[Divisor, ...] = ("positions",) if _close(part, unit / 2) else ()
    sequences: tuple[Divisor, ...] = ("sequences",) if _close(beside, unit / 2) else ()
    divided_by = (*positions, *sequences)
    whole = cross_entropy * (N if found.loss_reduction == "mean" else 1)
    return divided_by if _close(unit * (N if positions else 1), whole) else None


def _without_norms(probe: Probe, found: Capabilities, unit: float | None) -> Capabilities:
    """Say what is known where gradients have no norms: the hosted service documents that it sums."""
    if unit is not None:
        probe.notes.append("the server does not tell the norm of a gradient")
    if unit is None or probe.config.url != HOSTED:
        return found
    probe.notes.append("that losses are sums is taken from its documentation")
    return attrs.evolve(found, trains=True, loss_reduction="sum", negative_weights=True, divided_by=())


def _norm(
    probe: Probe, client: "tinker.TrainingClient", what: str, data: Sequence[Datum], *, is_policy: bool = False
) -> float | None:
    """Give the norm of the gradient of data; NaN where the server does not tell it, None where it takes no such data."""
    config = dict(UNCLIPPED) if is_policy else None

    def measured(left: float) -> float:
        gradient = client.forward_backward(data_to(data), "cispo" if is_policy else "cross_entropy", config).future()
        step = client.optim_step(adam_to(STILL)).future()
        gradient.result(timeout=left)
        norm = stepped_of(step.result(timeout=left), STILL, 0).grad_norm
        return math.nan if norm is None else norm

    return probe.ask(what, measured, requests=2)


def _is_idempotent(probe: Probe, client: "tinker.TrainingClient") -> bool | None:
    """Send a step of learning rate 0 twice under one number, past the SDK, which takes no more requests after that."""
    import httpx
    import tinker.types as wire

    number = client._reserve_request_ids(1).start + 1
    request = wire.OptimStepRequest(model_id=client.model_id, optim_params=adam_to(STILL), seq_id=number)
    key = probe.config.key
    headers = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {})}

    def sent(left: float) -> str:
        url = f"{probe.config.url}/api/v1/optim_step"
        answer = httpx.post(url, content=request.model_dump_json(), headers=headers, timeout=left)
        answer.raise_for_status()
        return str(answer.json()["request_id"])

    ids = [probe.ask("a step that is sent again", sent) for _ in range(2)]
    return None if None in ids else ids[0] == ids[1]


def _close(found: float, expected: float) -> bool:
    return math.isfinite(found) and abs(found - expected) <= TOLERANCE * expected


def _tokens(count: int) -> list[int]:
    return list(range(5, 5 + count))


def _weighted(weight: float) -> Datum:
    return _datum({"weights": [weight] * N})


def _judged(advantage: float, *, extra: int = 0) -> Datum:
    return _datum({"logprobs": [0.0] * (N + extra), "advantages": [advantage] * N + [0.0] * extra})


def _datum(inputs: dict[str, list[float]]) -> Datum:
    size = len(next(iter(inputs.values())))
    tokens = _tokens(size + 1)
    given = {name: TensorData.floats(numbers) for name, numbers in inputs.items()}
    return Datum(
        model_input=ModelInput.from_tokens(tokens[:-1]),
        loss_fn_inputs={"target_tokens": TensorData.ints(tokens[1:]), **given},
    )
