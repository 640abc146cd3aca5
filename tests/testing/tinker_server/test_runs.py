"""What was trained and saved is listed and changed over HTTP."""

import pytest
import tinker

from tests.testing.tinker_server.clients import SECONDS, done, model, rest, served


def test_what_is_saved_is_listed_published_given_an_end_and_deleted() -> None:
    with served() as (server, client):
        trained, asking = model(client), rest(server)
        state = done(trained.save_state("s", user_metadata={"step": "3"}, ttl_seconds=7200)).path
        weights = done(trained.save_weights_for_sampler("w")).path
        listed = done(asking.list_user_checkpoints())
        assert [one.tinker_path for one in listed.checkpoints] == [weights, state]
        assert listed.cursor is not None
        assert listed.cursor.total_count == 2
        assert [one.tinker_path for one in done(asking.list_user_checkpoints(limit=1, offset=1)).checkpoints] == [state]
        kept = listed.checkpoints[1]
        assert (kept.checkpoint_type, kept.user_metadata, kept.public) == ("training", {"step": "3"}, False)
        assert kept.expires_at is not None
        done(asking.publish_checkpoint_from_tinker_path(state))
        done(asking.set_checkpoint_ttl_from_tinker_path(state, None))
        (changed,) = [
            one for one in done(asking.list_checkpoints(trained.model_id)).checkpoints if one.tinker_path == state
        ]
        assert (changed.public, changed.expires_at) == (True, None)
        done(asking.unpublish_checkpoint_from_tinker_path(state))
        done(asking.delete_checkpoint_from_tinker_path(state))
        assert [one.public for one in done(asking.list_user_checkpoints()).checkpoints] == [False]
        with pytest.raises(tinker.NotFoundError):
            done(asking.delete_checkpoint_from_tinker_path(state))
        with pytest.raises(tinker.BadRequestError, match="ttl_seconds"):
            done(asking.set_checkpoint_ttl_from_tinker_path(weights, 5))


def test_runs_and_sessions_are_listed() -> None:
    with served() as (server, client):
        first, second = model(client), model(client)
        client.create_sampling_client(base_model="any").result(timeout=SECONDS)
        path = done(first.save_state("s")).path
        asking = rest(server)
        runs = done(asking.list_training_runs())
        assert {run.training_run_id for run in runs.training_runs} == {first.model_id, second.model_id}
        run = done(asking.get_training_run(first.model_id))
        assert (run.base_model, run.lora_rank, run.is_lora) == ("any", 4, True)
        assert run.last_checkpoint is not None
        assert run.last_checkpoint.tinker_path == path
        assert first.get_info().model_data.tokenizer_id == "any"
        info = done(asking.get_weights_info_by_tinker_path(path))
        assert (info.base_model, info.lora_rank) == ("any", 4)
        (session_id,) = done(asking.list_sessions()).sessions
        session = done(asking.get_session(session_id))
        assert session.training_run_ids == [first.model_id, second.model_id]
        (sampler_id,) = session.sampler_ids
        assert done(asking.get_sampler(sampler_id)).base_model == "any"
        done(asking.assign_session_project(session_id, "project"))
        with pytest.raises(tinker.NotFoundError):
            done(asking.get_training_run("no:train:0"))
        with pytest.raises(tinker.NotFoundError):
            done(asking.get_session("no"))
        with pytest.raises(tinker.NotFoundError):
            done(asking.get_sampler("no"))


def test_weights_that_are_no_files_cannot_be_taken_away() -> None:
    with served() as (_, client):
        trained = model(client)
        with pytest.raises(tinker.RequestFailedError, match="weights as files"):
            done(trained.save_weights_external("out"))
        with pytest.raises(tinker.RequestFailedError, match="encrypting"):
            done(trained.save_weights_external("out", age_encryption_recipients=["age1"]))
