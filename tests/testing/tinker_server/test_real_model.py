"""A real model, tiny and random, behind the server: the numbers over HTTP are the model's."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import tinker
from tinker import types as wire

from crucible.effects import perform
from crucible.kitchen.handlers import torch
from crucible.train.ports import SamplingClient
from crucible.train.types import ModelInput, SamplingConfig, SamplingParams
from tests.kitchen.handlers.torch.tiny import save_tiny
from tests.testing.tinker_server.clients import SECONDS, datum, done, model, prompt, rest, served

DATA = [datum([5, 6, 7, 8, 9, 10], weights=[0, 1, 1, 1, 1])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the tiny model; give its folder."""
    return save_tiny(tmp_path_factory.mktemp("model"))


def test_a_real_model_trains_samples_saves_and_resumes(folder: str, tmp_path: Path) -> None:
    handlers = torch.local(tmp_path, num_threads=1)
    with served(handlers=handlers) as (server, client):
        trained, losses = model(client, folder), []
        assert len(trained.get_tokenizer()) > 0
        for _ in range(4):
            passed = trained.forward_backward(DATA, "cross_entropy")
            stepped = trained.optim_step(wire.AdamParams(learning_rate=1e-2))
            losses.append(done(passed).metrics["loss:sum"])
            done(stepped)
        assert losses[-1] < 0.8 * losses[0]

        trained_on = done(trained.forward(DATA, "cross_entropy"))
        assert trained_on.metrics["loss:sum"] == pytest.approx(
            -sum(trained_on.loss_fn_outputs[0]["logprobs"].data[1:]), rel=1e-5
        )
        state = done(trained.save_state("end")).path
        resumed = client.create_training_client_from_state_with_optimizer(state).result(timeout=SECONDS)
        assert done(resumed.forward(DATA, "cross_entropy")).metrics == pytest.approx(trained_on.metrics)

        live = trained.save_weights_and_get_sampling_client().result(timeout=SECONDS)
        scored = done(live.compute_logprobs(prompt(5, 6, 7, 8, 9, 10)))
        assert scored[1:] == pytest.approx(
            trained_on.loss_fn_outputs[0]["logprobs"].data, abs=0.05
        )  # the trainer may compute in bfloat16, the sampler does not

        opened = client.create_sampling_client(base_model=folder).result(timeout=SECONDS)
        params = wire.SamplingParams(max_tokens=5, seed=3)
        answer = done(opened.sample(prompt(5, 6), 2, params))
        external = done(trained.save_weights_external("out")).path
        links = done(rest(server).get_external_weights_urls(external))
        config = next(url for name, url in links.urls.items() if name == "adapter_config.json")
        with urllib.request.urlopen(config, timeout=SECONDS) as file:
            assert json.load(file)["r"] == 4
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{server.url}/files/other", timeout=SECONDS)

    session = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model=folder))).unwrap()
    same = SamplingParams(max_tokens=5, seed=3)
    ours = [ModelInput.from_tokens([5, 6])]
    (group,) = handlers.run(perform(SamplingClient.sample, session, ours, same, num_samples=2)).unwrap()
    assert [tuple(one.tokens) for one in answer.sequences] == [one.tokens for one in group]
    for one, expected in zip(answer.sequences, group, strict=True):
        assert one.logprobs == pytest.approx(expected.logprobs, rel=1e-6)


@pytest.mark.slow
def test_the_program_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crucible.testing.tinker_server", "--root", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd(), env=dict(os.environ)) as program:
        assert program.stdout is not None
        found = dict(word.split("=", 1) for word in program.stdout.readline().split()[1:])
        client = tinker.ServiceClient(base_url=found["TINKER_BASE_URL"], api_key=found["TINKER_API_KEY"])
        assert done(model(client).forward(DATA, "cross_entropy")).metrics["loss:sum"] > 0
        client.close("success").result(timeout=SECONDS)
        program.send_signal(2)
        assert program.wait(timeout=SECONDS) == 0
