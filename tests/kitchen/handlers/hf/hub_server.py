"""A hub on this machine: repositories with commits, branches and tags, over the Hugging Face hub's HTTP API."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote, urlsplit

import attrs

from tests.kitchen.handlers.hf.servers import Answer, Asked, Site, of_json

LARGE = (".bin", ".safetensors", ".parquet")
"""Files that this hub keeps apart, and redirects to."""

Files = Mapping[str, bytes]


@attrs.define
class Repository:
    commits: dict[str, Files]
    branches: dict[str, str]
    tags: dict[str, str] = attrs.field(factory=dict)
    private: bool = False
    gated: bool = False

    def commit_of(self, revision: str) -> str | None:
        return (
            self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)
        )


class HubSite(Site):
    """A hub. With a `token`, private repositories are for those who give it, and so is writing."""

    def __init__(self, *, token: str | None = None) -> None:
        super().__init__()
        self.token = token
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}

    def add(self, name: str, files: Files, *, type: str = "model", private: bool = False, gated: bool = False) -> str:  # noqa: A002  # the hub's word
        """Make a repository, or a new commit on its main branch."""
        there = self.repositories.setdefault((type, name), Repository({}, {}, private=private, gated=gated))
        commit = hashlib.sha1(repr((len(there.commits), sorted(files.items()))).encode()).hexdigest()
        there.commits[commit] = files
        there.branches["main"] = commit
        return commit

    def answer(self, asked: Asked) -> Answer:
        path = unquote(urlsplit(asked.path).path)
        routes: list[tuple[str, Callable[..., Answer]]] = [
            (r"/objects/(\w+)", self.object),
            (r"/lfs/(\w+)", self.lfs_put),
            (r"/api/validate-yaml", lambda asked: of_json({"errors": [], "warnings": []})),
            (r"/api/repos/create", self.create),
            (r"/(datasets/|spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.lfs_batch),
            (r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)/tree/([^/]+)", self.tree),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)/preupload/([^/]+)", self.preupload),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)/commit/([^/]+)", self.commit),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)/tag/([^/]+)", self.tag),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)/branch/([^/]+)", self.branch),
            (r"/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/revision/([^/]+))?", self.info),
        ]
        for pattern, handle in routes:
            found = re.fullmatch(pattern, path)
            if found is not None:
                with self._lock:
                    return handle(asked, *found.groups())
        return of_json({"error": f"no such page: {path}"}, 404)

    def knows(self, asked: Asked) -> bool:
        return self.token is None or asked.headers.get("authorization") == f"Bearer {self.token}"

    def find(self, asked: Asked, type: str, name: str, revision: str | None) -> tuple[Repository, str] | Answer:  # noqa: A002  # the hub's word
        there = self.repositories.get((type, name))
        if there is None or (there.private and not self.knows(asked)):
            status = 404 if self.knows(asked) else 401
            return of_json({"error": "Repository not found"}, status, **{"X-Error-Code": "RepoNotFound"})
        if there.gated and not self.knows(asked):
            return of_json({"error": "Access is restricted"}, 403, **{"X-Error-Code": "GatedRepo"})
        commit = there.commit_of(revision or "main")
        if commit is None:
            return of_json({"error": "Invalid rev id"}, 404, **{"X-Error-Code": "RevisionNotFound"})
        return there, commit

    def info(self, asked: Asked, type: str, name: str, revision: str | None) -> Answer:  # noqa: A002  # the hub's word
        found = self.find(asked, type, name, revision)
        if isinstance(found, Answer):
            return found
        there, commit = found
        files = [{"rfilename": path} for path in there.commits.get(commit, {})]
        said = {"id": name, "sha": commit, "private": there.private, "tags": ["made-here"], "siblings": files}
        return of_json(said)

    def tree(self, asked: Asked, type: str, name: str, revision: str) -> Answer:  # noqa: A002  # the hub's word
        found = self.find(asked, type, name, revision)
        if isinstance(found, Answer):
            return found
        files = found[0].commits[found[1]]
        return of_json([_entry(path, data) for path, data in sorted(files.items())])

    def resolve(self, asked: Asked, prefix: str | None, name: str, revision: str, path: str) -> Answer:
        found = self.find(asked, _type(prefix), name, revision)
        if isinstance(found, Answer):
            return found
        commit = {"X-Repo-Commit": found[1]}
        data = found[0].commits[found[1]].get(path)
        if data is None:
            return of_json({"error": "Entry not found"}, 404, **commit, **{"X-Error-Code": "EntryNotFound"})
        if not path.endswith(LARGE):
            return _ranged(asked, data, {"ETag": f'"{_git_oid(data)}"', **commit})
        oid = hashlib.sha256(data).hexdigest()
        self.objects[oid] = data
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
        elsewhere = self.url.replace("127.0.0.1", "localhost")  # another host, as far as the SDK knows
        return Answer(302, headers={"Location": f"{elsewhere}/objects/{oid}", **linked, **commit})

    def object(self, asked: Asked, oid: str) -> Answer:
        return _ranged(asked, self.objects[oid], {"ETag": f'"{oid}"'})

    def create(self, asked: Asked) -> Answer:
        if not self.knows(asked):
            return of_json({"error": "Invalid username or password."}, 401)
        wanted = asked.json
        name, kind = f"{wanted['organization']}/{wanted['name']}", str(wanted.get("type", "model"))
        url = f"{self.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.repositories:
            return of_json({"error": "You already created this repo", "url": url}, 409)
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        empty = hashlib.sha1(name.encode()).hexdigest()
        self.repositories[kind, name] = Repository({empty: {}}, {"main": empty}, private=private)
        return of_json({"url": url})

    def branch(self, asked: Asked, type: str, name: str, branch: str) -> Answer:  # noqa: A002  # the hub's word
        there = self.repositories[type, name]
        if branch in there.branches:
            return of_json({"error": "Reference already exists"}, 409)
        there.branches[branch] = there.branches["main"]
        return of_json({})

    def preupload(self, asked: Asked, type: str, name: str, revision: str) -> Answer:  # noqa: A002  # the hub's word
        found = self.find(asked, type, name, revision)
        if isinstance(found, Answer):
            return found
        files = found[0].commits[found[1]]
        wanted = asked.json["files"]
        assert isinstance(wanted, list)
        said = []
        for one in wanted:
            data, large = files.get(one["path"]), one["path"].endswith(LARGE)
            oid = None if data is None else hashlib.sha256(data).hexdigest() if large else _git_oid(data)
            mode = "lfs" if large else "regular"
            said.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return of_json({"files": said})

    def lfs_batch(self, asked: Asked, prefix: str | None, name: str) -> Answer:
        wanted = asked.json["objects"]
        assert isinstance(wanted, list)
        for one in wanted:
            if one["oid"] not in self.objects:
                one["actions"] = {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}
        return of_json({"transfer": "basic", "objects": wanted})

    def lfs_put(self, asked: Asked, oid: str) -> Answer:
        if hashlib.sha256(asked.body).hexdigest() != oid:
            return of_json({"error": "another content"}, 400)
        self.objects[oid] = asked.body
        return Answer()

    def commit(self, asked: Asked, type: str, name: str, revision: str) -> Answer:  # noqa: A002  # the hub's word
        there = self.repositories[type, name]
        files = dict(there.commits[there.branches[revision]])
        for line in map(json.loads, asked.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
        made = hashlib.sha1(f"{len(there.commits)}{sorted(files)}".encode() + asked.body).hexdigest()
        there.commits[made] = files
        there.branches[revision] = made
        return of_json({"commitOid": made, "commitUrl": f"{self.url}/{name}/commit/{made}", "hookOutput": ""})

    def tag(self, asked: Asked, type: str, name: str, revision: str) -> Answer:  # noqa: A002  # the hub's word
        found = self.find(asked, type, name, revision)
        if isinstance(found, Answer):
            return found
        tag = str(asked.json["tag"])
        if tag in found[0].tags:
            return of_json({"error": "Tag reference exists already"}, 409)
        found[0].tags[tag] = found[1]
        return of_json({})


def _type(prefix: str | None) -> str:
    return (prefix or "models/").removesuffix("s/")


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": _git_oid(data)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _ranged(asked: Asked, data: bytes, headers: Mapping[str, str]) -> Answer:
    """Give all of the data, or the range that is asked for."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if wanted is None:
        return Answer(200, data, {**headers, "Accept-Ranges": "bytes"})
    start, end = int(wanted[1]), int(wanted[2] or len(data) - 1)
    return Answer(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})
