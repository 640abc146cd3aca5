"""The endpoints that sample: samplers are opened on a model or on saved weights, and asked."""

from collections.abc import Sequence

from tinker import types as wire

from crucible.effects import Failure, Result, Success
from crucible.testing.tinker_server._promises import Wire
from crucible.testing.tinker_server._state import RefusedError, Sampler
from crucible.testing.tinker_server._wire import input_of, params_of, sample_message
from crucible.testing.tinker_server._work import Ask, Json, Work, told
from crucible.train.errors import InvalidRequest, NotFound, TrainError, Unsupported
from crucible.train.ports import SamplingClient
from crucible.train.types import ModelInput, Sample, SamplingConfig, SamplingParams, TokenLogprob


async def create_sampling_session(work: Work, ask: Ask) -> Json:
    """Open a sampler."""
    request = wire.CreateSamplingSessionRequest.model_validate_json(ask.body)
    session = work.state.session(request.session_id)
    made = sampler_id(session.id, request.sampling_session_seq_id)
    if made not in work.state.samplers:
        config = _config(work, request)
        opened = await open_sampler(work, made, config, model_path=request.model_path)
        if isinstance(opened, Failure):
            raise RefusedError.of(opened.failure())
    return {"type": "create_sampling_session", "sampling_session_id": made}


def sampler_id(session_id: str, seq_id: int) -> str:
    """Name a sampler."""
    return f"{session_id}:sample:{seq_id}"


async def open_sampler(
    work: Work, made: str, config: SamplingConfig, *, model_path: str | None
) -> Result[Sampler, TrainError]:
    """Open a sampler on the handlers."""
    if work.models and config.model not in work.models:
        return Failure(NotFound(kind="model", name=config.model, fix=f"this server has {', '.join(work.models)}"))
    session_id = made.partition(":sample:")[0]

    def remember(sampler: Sampler) -> Sampler:
        work.state.samplers[made] = sampler
        work.state.sessions[session_id].samplers.append(made)
        return sampler

    opened = await work.call(SamplingClient.start_session, config)
    return opened.map(
        lambda sampling: remember(Sampler(id=made, session_id=session_id, model_path=model_path, sampling=sampling))
    )


def _config(work: Work, request: wire.CreateSamplingSessionRequest) -> SamplingConfig:
    if request.model_path is None:
        if request.base_model is None:
            raise RefusedError(400, "a sampling session needs base_model or model_path")
        return SamplingConfig(model=request.base_model)
    saved = work.state.saved(request.model_path, ("sampler_weights",))
    if isinstance(saved, NotFound):
        raise RefusedError.of(saved)
    return SamplingConfig(model=saved.config.model, weights_path=saved.place)


async def get_sampler(work: Work, ask: Ask) -> Json:
    """Say what a sampler samples from."""
    sampler = work.state.sampler(ask.words["sampler"])
    return {"sampler_id": sampler.id, "base_model": sampler.sampling.model, "model_path": sampler.model_path}


async def asample(work: Work, ask: Ask) -> Json:
    """Sample from a prompt."""
    request = wire.SampleRequest.model_validate_json(ask.body)
    sampler = work.state.sampler(request.sampling_session_id or "")

    async def sample() -> Result[Wire, TrainError]:
        return await _sample(work, sampler, request)

    place = ("sample", sampler.id, ask.key if request.seq_id is None else request.seq_id)
    promise = work.promise(ask, sampler.session_id, place, lambda promise: work.begin(promise, sample))
    ids = [f"{promise.request_id}:{number}" for number in range(request.num_samples)]
    return told(promise) | {"sample_sequence_ids": ids}


async def _sample(work: Work, sampler: Sampler, request: wire.SampleRequest) -> Result[Wire, TrainError]:
    missing = _missing(work, request)
    if missing is not None:
        return Failure(missing)
    prompt = input_of(request.prompt)
    if isinstance(prompt, Failure):
        return prompt
    given = prompt.unwrap()
    room = sampler.sampling.max_length - len(given)
    params = params_of(request.sampling_params, room=max(room, 1), seed=work.seed_of(sampler.id, request.seq_id))
    if isinstance(params, Failure):
        return params
    scored = await _scored(work, sampler, given, request)
    if isinstance(scored, Failure):
        return scored
    top = await _top(work, sampler, given, request)
    if isinstance(top, Failure):
        return top
    samples = await _samples(work, sampler, given, params.unwrap(), request)
    return samples.map(lambda found: sample_message(found, scored.unwrap(), top.unwrap()))


async def _samples(
    work: Work, sampler: Sampler, prompt: ModelInput, params: SamplingParams, request: wire.SampleRequest
) -> Result[Sequence[Sample], TrainError]:
    """Sample; a prompt that fills the context can still be scored, which the API does as a sample of one token."""
    is_full = len(prompt) == sampler.sampling.max_length
    is_scored = request.prompt_logprobs or request.topk_prompt_logprobs
    if is_scored and params.max_tokens == 1 and is_full:
        return Success([Sample(tokens=(), logprobs=(), stop_reason="length")] * request.num_samples)
    done = await work.call(SamplingClient.sample, sampler.sampling, [prompt], params, num_samples=request.num_samples)
    return done.map(lambda groups: groups[0])


async def _scored(
    work: Work, sampler: Sampler, prompt: ModelInput, request: wire.SampleRequest
) -> Result[Sequence[float | None] | None, TrainError]:
    """Score the prompt where that was asked for; a None stands for what was not asked for."""
    if not request.prompt_logprobs:
        return Success(None)
    scored = await work.call(SamplingClient.compute_logprobs, sampler.sampling, [prompt])
    last = request.prompt_logprobs_last_n
    if last is not None and not 1 <= last < len(prompt):
        return Failure(InvalidRequest(message=f"prompt_logprobs_last_n is {last} for {len(prompt)} tokens"))
    unasked = 0 if last is None else len(prompt) - last
    return scored.map(lambda rows: (*(None,) * unasked, *rows[0][unasked:]))


async def _top(
    work: Work, sampler: Sampler, prompt: ModelInput, request: wire.SampleRequest
) -> Result[Sequence[Sequence[TokenLogprob]] | None, TrainError]:
    """Give the likeliest tokens at the prompt's places where that was asked for; none at those that were left out."""
    if not request.topk_prompt_logprobs:
        return Success(None)
    last = request.prompt_logprobs_last_n
    unasked = 0 if last is None else len(prompt) - last
    found = await work.top_logprobs(sampler.sampling, prompt, request.topk_prompt_logprobs)
    return found.map(lambda places: (*((),) * unasked, *places[unasked:]))


def _missing(work: Work, request: wire.SampleRequest) -> Unsupported | None:
    """Name what was asked for and cannot be done on the ports."""
    lacks = work.deviations.lacks
    asked = {
        "prompt_logprobs": request.prompt_logprobs and "prompt_logprobs" in lacks,
        "topk_prompt_logprobs": request.topk_prompt_logprobs and (not work.has_top_logprobs or "top_logprobs" in lacks),
        "topk_sample_logprobs": request.topk_sample_logprobs,
        "target_prompt_logprobs": request.target_prompt_logprobs is not None,
        "prompt_alt_tokens_k": request.prompt_alt_tokens_k,
    }
    names = [name for name, value in asked.items() if value]
    return Unsupported(feature=", ".join(names), backend="this server") if names else None
