"""Sampling over HTTP, by the official SDK, on the noop handlers."""

import pytest
import tinker
from tinker import types as wire

from crucible.effects import perform
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop._bigram import VOCAB_SIZE
from crucible.testing import tinker_server
from crucible.train.ports import SamplingClient
from crucible.train.types import ModelInput, SamplingConfig, SamplingParams
from tests.testing.tinker_server.clients import ADAM, DATA, GREEDY, SECONDS, done, model, prompt, rest, served


def sampler(client: tinker.ServiceClient) -> tinker.SamplingClient:
    return client.create_sampling_client(base_model="any").result(timeout=SECONDS)


def test_samples_are_those_the_handlers_give() -> None:
    handlers = noop.all()
    params = wire.SamplingParams(max_tokens=6, temperature=0.8, top_k=40, top_p=0.9, seed=7, stop=[65])
    with served(handlers=handlers) as (_, client):
        answer = done(sampler(client).sample(prompt(5, 6), 3, params))
    session = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model="any"))).unwrap()
    same = SamplingParams(max_tokens=6, temperature=0.8, top_k=40, top_p=0.9, seed=7, stop_tokens=(65,))
    ours = [ModelInput.from_tokens([5, 6])]
    (group,) = handlers.run(perform(SamplingClient.sample, session, ours, same, num_samples=3)).unwrap()
    assert [tuple(one.tokens) for one in answer.sequences] == [one.tokens for one in group]
    assert [one.stop_reason for one in answer.sequences] == [one.stop_reason for one in group]
    for one, expected in zip(answer.sequences, group, strict=True):
        assert one.logprobs == pytest.approx(expected.logprobs, rel=1e-6)
    assert len({one.sequence_id for one in answer.sequences}) == 3


def test_prompts_are_scored_whole_or_at_their_end() -> None:
    with served() as (_, client):
        opened = sampler(client)
        scored = done(opened.compute_logprobs(prompt(5, 6, 7, 8)))
        assert scored[0] is None
        assert all(logprob is not None and logprob < 0 for logprob in scored[1:])
        assert done(opened.compute_logprobs(prompt(5, 6, 7, 8), prompt_logprobs_last_n=2)) == [None, None, *scored[2:]]
        both = done(opened.sample(prompt(5, 6, 7, 8), 2, GREEDY, include_prompt_logprobs=True))
        assert both.prompt_logprobs == scored
        with pytest.raises(tinker.RequestFailedError, match="prompt_logprobs_last_n"):
            done(opened.compute_logprobs(prompt(5, 6), prompt_logprobs_last_n=2))


def test_likeliest_tokens_are_those_the_handlers_give() -> None:
    with served() as (_, client):
        opened = sampler(client)
        scored = done(opened.compute_logprobs(prompt(5, 6, 7)))
        whole = done(opened.sample(prompt(5, 6, 7), 1, GREEDY, topk_prompt_logprobs=1000)).topk_prompt_logprobs
        assert whole is not None
        assert whole[0] is None
        for token, place, logprob in zip((6, 7), whole[1:], scored[1:], strict=True):
            assert place is not None
            assert len(place) == VOCAB_SIZE
            assert dict(place)[token] == pytest.approx(logprob, rel=1e-6)
            assert place == sorted(place, key=lambda one: -one[1])
        few = done(opened.sample(prompt(5, 6, 7), 1, GREEDY, topk_prompt_logprobs=2)).topk_prompt_logprobs
        assert few == [None, *(place and place[:2] for place in whole[1:])]
        last = done(
            opened.sample(
                prompt(5, 6, 7),
                1,
                GREEDY,
                include_prompt_logprobs=True,
                topk_prompt_logprobs=2,
                prompt_logprobs_last_n=1,
            )
        )
        assert last.topk_prompt_logprobs == [None, None, few[2]]
        assert done(opened.sample(prompt(5), 1, GREEDY)).topk_prompt_logprobs is None


def test_a_prompt_that_fills_the_context_is_scored() -> None:
    with served(handlers=noop.training() | noop.sampling(max_length=4)) as (_, client):
        opened = sampler(client)
        assert len(done(opened.compute_logprobs(prompt(5, 6, 7, 8)))) == 4
        one_token = wire.SamplingParams(max_tokens=1)
        top = done(opened.sample(prompt(5, 6, 7, 8), 1, one_token, topk_prompt_logprobs=1)).topk_prompt_logprobs
        assert top is not None
        assert len(top) == 4
        with pytest.raises(tinker.RequestFailedError, match="at most 3 are taken"):
            done(opened.sample(prompt(5, 6, 7, 8), 1, GREEDY))
        assert len(done(opened.sample(prompt(5, 6), 1, wire.SamplingParams(temperature=0))).sequences[0].tokens) <= 2


def test_without_a_seed_samples_differ_and_a_run_repeats_them() -> None:
    free = wire.SamplingParams(max_tokens=8)

    def run(seed: int) -> list[list[int]]:
        with served(seed=seed) as (_, client):
            opened = sampler(client)
            return [done(opened.sample(prompt(5), 1, free)).sequences[0].tokens for _ in range(3)]

    first = run(0)
    assert len({tuple(tokens) for tokens in first}) == 3
    assert run(0) == first
    assert run(1) != first


def test_a_sampler_is_an_immutable_version_of_the_weights() -> None:
    with served() as (server, client):
        trained = model(client)
        named = done(trained.save_weights_for_sampler("start")).path
        before = client.create_sampling_client(model_path=named).result(timeout=SECONDS)
        live = trained.save_weights_and_get_sampling_client().result(timeout=SECONDS)
        start = done(before.compute_logprobs(prompt(5, 6, 7)))
        done(trained.forward_backward(DATA, "cross_entropy"))
        done(trained.optim_step(ADAM))
        after = trained.save_weights_and_get_sampling_client().result(timeout=SECONDS)
        assert done(live.compute_logprobs(prompt(5, 6, 7))) == start == done(before.compute_logprobs(prompt(5, 6, 7)))
        assert done(after.compute_logprobs(prompt(5, 6, 7))) != start
        assert [one.checkpoint_id for one in done(rest(server).list_checkpoints(trained.model_id)).checkpoints] == [
            "sampler_weights/start"
        ]
        assert before.get_base_model() == "any"


def test_what_the_ports_cannot_do_is_refused_by_name() -> None:
    with served() as (_, client):
        opened = sampler(client)
        for future, message in [
            (opened.sample(prompt(5), 1, wire.SamplingParams(max_tokens=2, stop=[])), "stop"),
            (opened.sample(prompt(5), 1, GREEDY, topk_sample_logprobs=2), "topk_sample_logprobs"),
            (opened.sample(prompt(5), 1, wire.SamplingParams(max_tokens=0)), "max_tokens"),
            (opened.sample(prompt(5, 10**6), 1, GREEDY), "a token is not"),
            (opened.sample(prompt(), 1, GREEDY), "empty"),
        ]:
            with pytest.raises(tinker.RequestFailedError, match=message):
                done(future)
        stopped = done(opened.sample(prompt(5), 1, wire.SamplingParams(max_tokens=300, stop="e", temperature=2)))
        assert stopped.sequences[0].stop_reason == "stop"


def test_a_sampler_needs_a_model_that_is_there() -> None:
    with (
        tinker_server.serve(noop.all(), models=["tiny"]) as server,
        tinker.ServiceClient(base_url=server.url, api_key=server.api_key) as client,
    ):
        with pytest.raises(tinker.NotFoundError, match="this server has tiny"):
            client.create_sampling_client(base_model="other").result(timeout=SECONDS)
        with pytest.raises(tinker.NotFoundError, match="was not found"):
            client.create_sampling_client(model_path="tinker://a:train:0/sampler_weights/x").result(timeout=SECONDS)
        with pytest.raises(tinker.RequestFailedError, match="this server has tiny"):
            model(client, "other")
        (offered,) = done(rest(server).get_server_capabilities()).supported_models
        assert (offered.model_name, offered.max_context_length) == ("tiny", 32_768)


def test_an_image_reaches_the_handlers() -> None:
    image = wire.ImageChunk(data=b"png", format="png", expected_tokens=3)
    with served() as (_, client):
        opened = sampler(client)
        several = wire.ModelInput(chunks=[image, wire.EncodedTextChunk(tokens=[5])])
        assert len(done(opened.compute_logprobs(several))) == 4
