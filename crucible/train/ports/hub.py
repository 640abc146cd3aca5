"""`HubClient`: the port of everything that keeps repositories of models and datasets."""

from abc import abstractmethod

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import FileSelection, HubCommit, HubInfo, HubRepo, HubUpload


class HubClient(Port, unanswered=Unavailable.because):
    """Reads and writes repositories. Local paths that it gives exist, and are not to be written to."""

    @abstractmethod
    async def download(self, repo: HubRepo, path: str) -> Result[str, TrainError]:
        """Fetch one file and give its local path."""

    @abstractmethod
    async def snapshot(self, repo: HubRepo, selection: FileSelection = FileSelection()) -> Result[str, TrainError]:
        """Fetch the selected files and give the local folder that holds them, under the paths they have in the repo."""

    @abstractmethod
    async def list_files(self, repo: HubRepo) -> Result[tuple[str, ...], TrainError]:
        """Give the paths of all files, sorted."""

    @abstractmethod
    async def get_info(self, repo: HubRepo) -> Result[HubInfo, TrainError]:
        """Say which commit the revision stands for, and what is in it."""

    @abstractmethod
    async def upload_folder(self, upload: HubUpload) -> Result[HubCommit, TrainError]:
        """Put the selected files of a local folder into a repository, in one commit.

        Files that are there already and the same make no new commit, so an upload can be repeated.
        """

    @abstractmethod
    async def create_tag(self, repo: HubRepo, tag: str) -> Result[None, TrainError]:
        """Give the commit that the revision stands for a name, which is a revision from then on.

        The same name for the same commit again is no error; for another commit it is an InvalidRequest.
        """
