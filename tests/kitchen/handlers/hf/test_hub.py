"""Repositories on a hub over HTTP: what is fetched is whole and fetched once, what is uploaded is private and said in one commit."""

import logging
import sys
from itertools import count
from pathlib import Path

import attrs
import hf_xet  # type: ignore[import-untyped]  # it has no types
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from crucible.effects import Eff, Result, perform, retry
from crucible.kitchen.handlers import hf
from crucible.kitchen.handlers.hf._errors import outcome
from crucible.testing import check_hub_client
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    StorageFailed,
    TrainError,
    Unavailable,
    is_transient,
)
from crucible.train.ports import HubClient
from crucible.train.types import FileSelection, HubRepo, HubUpload, ModelCard
from tests.kitchen.handlers.hf.conftest import CANARY
from tests.kitchen.handlers.hf.hub_server import HubSite
from tests.kitchen.handlers.hf.servers import Answer, of_json, serving

REPO = HubRepo(id="org/model")

# The SDK uploads large files through an argument that its own HTTP client calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


def get(config: hf.HfConfig, path: str = "config.json", repo: HubRepo = REPO) -> Result[str, TrainError]:
    return hf.hub(config).run(perform(HubClient.download, repo, path))


def failure(config: hf.HfConfig, eff: Eff[object, TrainError, HubClient]) -> TrainError:
    return hf.hub(config).run(eff).failure()


def test_the_contract(config: hf.HfConfig, tmp_path: Path) -> None:
    numbers = count()
    check_hub_client(
        lambda: hf.hub(attrs.evolve(config, cache=tmp_path / f"cache-{next(numbers)}")),
        repo=REPO,
        upload_to=lambda: HubRepo(id=f"me/new-{next(numbers)}"),
    )


class TestWhatIsFetched:
    def test_is_fetched_once(self, site: HubSite, config: hf.HfConfig) -> None:
        for _ in range(3):
            assert Path(get(config, "weights/a.bin").unwrap()).read_bytes() == bytes(range(200))
        hf.hub(config).run(perform(HubClient.snapshot, REPO)).unwrap()
        assert len(site.requests("GET", "/objects/")) == 1

    def test_comes_anew_when_it_changed(self, site: HubSite, config: hf.HfConfig) -> None:
        old = get(config).unwrap()
        site.add("org/model", {"config.json": b"{'new': 1}"})
        assert Path(get(config).unwrap()).read_bytes() == b"{'new': 1}"
        assert Path(old).read_bytes() == b"{}"

    def test_is_whole_though_the_line_broke(self, site: HubSite, config: hf.HfConfig) -> None:
        site.fail("GET", "/objects/", Answer(200, bytes(range(200)), cut_at=50))
        assert Path(get(config, "weights/a.bin").unwrap()).read_bytes() == bytes(range(200))
        assert len(site.requests("GET", "/objects/")) == 2

    def test_is_refused_when_it_is_shorter_than_the_hub_says(self, site: HubSite, config: hf.HfConfig) -> None:
        site.fail("GET", "/objects/", Answer(200, bytes(range(50))))
        assert isinstance(get(config, "weights/a.bin").failure(), Unavailable)
        assert Path(get(config, "weights/a.bin").unwrap()).read_bytes() == bytes(range(200))

    def test_is_given_from_the_cache_when_the_hub_is_away(self, site: HubSite, config: hf.HfConfig) -> None:
        local = get(config).unwrap()
        site.fail("HEAD", "config.json", Answer(500))
        assert get(config).unwrap() == local

    def test_does_not_send_the_token_to_another_host(self, site: HubSite, config: hf.HfConfig) -> None:
        get(config, "weights/a.bin").unwrap()
        assert "authorization" in site.requests("HEAD", "a.bin")[0].headers
        assert "authorization" not in site.requests("GET", "/objects/")[0].headers

    def test_of_a_snapshot_is_what_was_chosen(self, config: hf.HfConfig) -> None:
        chosen = FileSelection(allow=("*.json", "weights/*"), ignore=("*.bin",))
        folder = Path(hf.hub(config).run(perform(HubClient.snapshot, REPO, chosen)).unwrap())
        assert [path.name for path in folder.rglob("*")] == ["config.json"]

    @pytest.mark.anyio
    async def test_can_be_awaited_on_either_event_loop(self, config: hf.HfConfig) -> None:
        info = (await hf.hub(config).arun(perform(HubClient.get_info, REPO))).unwrap()
        assert (info.tags, info.private, len(info.commit)) == (("made-here",), False, 40)


class TestARefusal:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, InvalidRequest),
            (401, AccessDenied),
            (403, AccessDenied),
            (404, NotFound),
            (409, InvalidRequest),
            (429, Unavailable),
            (500, Unavailable),
            (503, Unavailable),
        ],
    )
    def test_is_an_error_of_the_port(self, site: HubSite, config: hf.HfConfig, status: int, kind: type) -> None:
        site.fail("GET", "/api/models", of_json({"error": "said the hub"}, status))
        error = failure(config, perform(HubClient.get_info, REPO))
        assert isinstance(error, kind)
        assert "org/model" in str(error)
        assert "said the hub" in str(error)

    def test_without_a_token_does_not_say_whether_it_exists(self, site: HubSite, config: hf.HfConfig) -> None:
        site.add("org/secret", {"a": b"1", "b": b"2"}, private=True)
        stranger = attrs.evolve(config, token=None)
        assert isinstance(get(stranger, "a", HubRepo(id="org/secret")).failure(), AccessDenied)
        assert get(config, "a", HubRepo(id="org/secret")).map(lambda path: Path(path).read_bytes()).unwrap() == b"1"

    def test_of_a_gated_repository_says_so(self, site: HubSite, config: hf.HfConfig) -> None:
        site.add("org/gated", {"a": b"1"}, gated=True)
        error = get(attrs.evolve(config, token=None), "a", HubRepo(id="org/gated")).failure()
        assert isinstance(error, AccessDenied)
        assert "gated" in str(error)

    @pytest.mark.parametrize("headers", [{"Retry-After": "300"}, {"RateLimit": '"api";r=0;t=300'}])
    def test_of_a_busy_hub_comes_at_once_and_says_how_long(
        self, site: HubSite, config: hf.HfConfig, headers: dict[str, str]
    ) -> None:
        site.fail("GET", "/tree/", of_json({"error": "slow down"}, 429, **headers), times=9)
        site.fail("HEAD", "/resolve/", of_json({"error": "slow down"}, 429, **headers), times=9)
        for operation in (perform(HubClient.snapshot, REPO), perform(HubClient.download, REPO, "config.json")):
            error = failure(config, operation)
            assert isinstance(error, Unavailable)
            assert error.retry_after_seconds == 300
        assert len(site.requests("GET", "/tree/")) == 1

    def test_that_passes_is_waited_for_by_retry(self, site: HubSite, config: hf.HfConfig) -> None:
        site.fail("GET", "/api/models", of_json({}, 503), times=2)
        patient = retry(hf.hub(config), attempts=3, when=is_transient, wait_seconds=lambda attempt, error: 0.0)
        assert patient.run(perform(HubClient.get_info, REPO)).unwrap().repo == REPO

    def test_of_a_hub_that_does_not_answer_comes_in_time(self, site: HubSite, config: hf.HfConfig) -> None:
        site.fail("GET", "/api/models", Answer(wait_seconds=1.0))
        error = failure(attrs.evolve(config, timeout_seconds=0.05), perform(HubClient.get_info, REPO))
        assert isinstance(error, Unavailable)

    def test_of_no_hub_at_all_is_that_it_cannot_be_reached(self, config: hf.HfConfig) -> None:
        gone = HubSite()
        with serving(gone):
            pass
        error = failure(attrs.evolve(config, endpoint=gone.url), perform(HubClient.get_info, REPO))
        assert isinstance(error, Unavailable)
        assert "could not be reached" in str(error)

    def test_of_something_that_is_no_hub_says_so(self, site: HubSite, config: hf.HfConfig) -> None:
        site.fail("HEAD", "/resolve/", Answer(200, b"hello"))
        assert isinstance(get(config).failure(), BackendFailed)

    @pytest.mark.parametrize("name", ["a/b/c", "org/..", "-bad-"])
    def test_of_a_name_that_is_none_is_made_here(self, site: HubSite, config: hf.HfConfig, name: str) -> None:
        assert isinstance(get(config, "a", HubRepo(id=name)).failure(), InvalidRequest)
        assert site.asked == []

    def test_of_the_disk_names_the_path(self, config: hf.HfConfig, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        error = get(attrs.evolve(config, cache=tmp_path / "file")).failure()
        assert isinstance(error, StorageFailed)
        assert "file" in error.path

    @pytest.mark.parametrize(
        ("raised", "kind"),
        [
            (hf_xet.XetAuthenticationError("expired"), AccessDenied),
            (hf_xet.XetObjectNotFoundError("gone"), NotFound),
            (RuntimeError("the native part failed"), BackendFailed),
            (ConnectionResetError("reset"), Unavailable),
            (TimeoutError("late"), Unavailable),
            (OfflineModeIsEnabled("offline"), Unavailable),
            (LocalEntryNotFoundError("not here, and the hub is away"), Unavailable),
            (OSError(28, "No space left on device", "/cache/x"), StorageFailed),
            (ValueError("an answer that is none"), BackendFailed),
        ],
    )
    def test_of_the_sdk_s_own_kind_is_told(self, raised: Exception, kind: type) -> None:
        def work() -> None:
            raise raised

        error = outcome(work, about="org/model", token=None).failure()
        assert isinstance(error, kind)
        assert "/cache/x" in str(error) or "org/model" in str(error)

    def test_without_the_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        error = failure(hf.HfConfig(), perform(HubClient.get_info, REPO))
        assert error == MissingExtra(extra="hf", package="huggingface_hub")


class TestAnUpload:
    def upload(self, folder: Path) -> HubUpload:
        (folder / "deep").mkdir(parents=True)
        (folder / ".git").mkdir()
        (folder / ".git" / "config").write_text("secret")
        (folder / "adapter.safetensors").write_bytes(b"\1" * 1000)
        (folder / "deep" / "config.json").write_text("{}")
        return HubUpload(repo=HubRepo(id="me/new"), folder=str(folder), message="Trained")

    def test_sends_large_files_apart_and_each_once(self, site: HubSite, config: hf.HfConfig, tmp_path: Path) -> None:
        card = ModelCard(title="Adder", metrics={"accuracy": 1.0})
        upload = attrs.evolve(self.upload(tmp_path / "adapter"), card=card)
        commits = [hf.hub(config).run(perform(HubClient.upload_folder, upload)).unwrap().commit for _ in range(2)]
        assert commits[0] == commits[1]
        assert len(site.requests("PUT", "/lfs/")) == len(site.requests("POST", "/commit/")) == 1
        there = site.repositories["model", "me/new"]
        assert there.private
        assert sorted(there.commits[commits[0]]) == ["README.md", "adapter.safetensors", "deep/config.json"]
        assert there.commits[commits[0]]["adapter.safetensors"] == b"\1" * 1000

    def test_can_be_public_and_on_a_branch(self, site: HubSite, config: hf.HfConfig, tmp_path: Path) -> None:
        branch = HubRepo(id="me/new", revision="try")
        upload = attrs.evolve(self.upload(tmp_path / "adapter"), repo=branch, private=False)
        made = hf.hub(config).run(perform(HubClient.upload_folder, upload)).unwrap()
        there = site.repositories["model", "me/new"]
        assert not there.private
        assert there.branches["try"] == made.commit != there.branches["main"]

    def test_of_nothing_is_refused(self, site: HubSite, config: hf.HfConfig, tmp_path: Path) -> None:
        upload = attrs.evolve(self.upload(tmp_path / "adapter"), selection=FileSelection(allow=("*.none",)))
        assert isinstance(failure(config, perform(HubClient.upload_folder, upload)), InvalidRequest)
        assert site.asked == []

    @pytest.mark.parametrize(("part", "status"), [("/repos/create", 401), ("/preupload/", 403), ("/lfs/", 403)])
    def test_that_is_not_allowed_is_denied(
        self, site: HubSite, config: hf.HfConfig, tmp_path: Path, part: str, status: int
    ) -> None:
        site.fail("PUT" if part == "/lfs/" else "POST", part, of_json({"error": "no"}, status))
        upload = self.upload(tmp_path / "adapter")
        assert isinstance(failure(config, perform(HubClient.upload_folder, upload)), AccessDenied)


class TestTheToken:
    def test_is_in_no_repr(self, config: hf.HfConfig) -> None:
        handlers = hf.hub(config) | hf.datasets(config) | hf.llm(hf.InferenceConfig(token=CANARY))
        assert CANARY not in f"{config} {handlers!r} {hf.HfHub(config)!r} {hf.InferenceConfig(token=CANARY)}"

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
    def test_is_in_no_error_and_no_log_even_when_the_server_repeats_it(
        self, site: HubSite, config: hf.HfConfig, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        site.fail("GET", "/api/models", of_json({"error": f"bad Authorization: Bearer {CANARY}"}, status))
        error = failure(config, perform(HubClient.get_info, REPO))
        assert "***" in str(error)
        assert CANARY not in f"{error} {error!r}"
        assert CANARY not in caplog.text
        assert site.asked[-1].headers["authorization"] == f"Bearer {CANARY}"

    def test_of_this_machine_is_not_sent_to_another_hub(
        self, site: HubSite, config: hf.HfConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", CANARY)
        hf.hub(attrs.evolve(config, token=None)).run(perform(HubClient.get_info, REPO)).unwrap()
        assert "authorization" not in site.asked[-1].headers


def test_a_timeout_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="timeout_seconds must be more than 0"):
        hf.HfConfig(timeout_seconds=0)
