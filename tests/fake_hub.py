"""A server on this machine that speaks the Hub's protocol, for uploads and downloads, with faults on demand.

    with hub() as server:
        server.users["hf_token"] = "owner"
        ...HfApi(endpoint=server.url, token="hf_token")...
        server.files("owner/name")            # what the newest commit holds

Repositories, commits, large files (the batch endpoint, a PUT, a check of what arrived, a redirect to another host on
the way back), entity tags and error codes are as the real one documents or shows them. Large are the files that end in
.safetensors.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits, newest last, and the branches and tags that name them."""

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, changes: Files) -> str:
        before = self.commits.get(self.names.get("main", ""), {})
        files = before | changes
        oid = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[oid] = files
        self.names["main"] = oid
        return oid

    def at(self, revision: str) -> tuple[str, Files] | None:
        oid = self.names.get(revision, revision)
        return (oid, self.commits[oid]) if oid in self.commits else None


class Answer(Exception):  # noqa: N818 - it is none
    """A status, a body and headers, raised from anywhere in the handling of a request."""

    def __init__(self, status: int, body: Any = b"", **headers: str) -> None:
        super().__init__(status)
        self.status, self.headers = status, {key.replace("_", "-"): value for key, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def failure(status: int, message: str, code: str = "") -> Answer:
    named = {"X_Error_Code": code} if code else {}
    return Answer(status, {"error": message}, X_Error_Message=message, **named)


class FakeHub:
    """Its state, and what was asked of it."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.repositories: dict[str, Repository] = {}
        self.large: Files = {}
        self.asked: list[tuple[str, str]] = []
        self.remarks: list[str] = []  # of the checker of cards
        self.faults: list[tuple[str, Callable[[], Answer | None]]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.storage = f"http://localhost:{self.server.server_port}"  # another host, as large files' is
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def put(self, name: str, files: Files, private: bool = False) -> str:
        """A repository of these files and no others, or its newest commit; the commit's name."""
        repository = self.repositories.setdefault(name, Repository(private))
        repository.names.pop("main", None)
        self.large |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        return repository.commit(files)

    def files(self, name: str, revision: str = "main") -> Files:
        found = self.repositories[name].at(revision)
        assert found is not None, revision
        return found[1]

    def fail(self, path: str, answer: Answer | None, times: int = 1) -> None:
        """Answer the next requests whose path holds `path` so; None hangs up."""
        self.faults += [(path, lambda: answer)] * times

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlsplit(self.path).path)
                hub.asked.append((self.command, path))
                try:
                    hub.answer(self.command, path, body, self.headers.get("Authorization", ""))
                except Answer as answer:
                    self.send_response(answer.status)
                    for key, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                        self.send_header(key, value)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(answer.body)
                except ConnectionAbortedError:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    # What is answered -----------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: bytes, authorization: str) -> None:
        """Raise the answer to a request."""
        for number, (part, make) in enumerate(self.faults):
            if part in path:
                del self.faults[number]
                answer = make()
                if answer is None:
                    raise ConnectionAbortedError
                raise answer
        user = self.users.get(authorization.removeprefix("Bearer "))
        if authorization and user is None and not path.startswith(("/lfs/", "/cdn/")):
            raise failure(401, "Invalid credentials in Authorization header")
        for wanted, pattern, reply in _ROUTES:
            found = re.fullmatch(pattern, path)
            if method in wanted.split() and found:
                reply(self, user, body, *found.groups())
        raise failure(404, f"no such page: {method} {path}")

    def create(self, user: str | None, body: bytes) -> None:
        asked = json.loads(body)
        if user is None:
            raise failure(401, "Invalid username or password.")
        if user != asked["organization"]:
            raise failure(
                403, f'You don\'t have the rights to create a model under the namespace "{asked["organization"]}"'
            )
        name = f"{asked['organization']}/{asked['name']}"
        reply = {"url": f"{self.url}/{name}", "name": name}
        if name in self.repositories:
            raise Answer(409, reply | {"error": "You already created this model repo"})
        self.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        self.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        raise Answer(200, reply)

    def check_card(self, user: str | None, body: bytes) -> None:
        raise Answer(200, {"errors": [], "warnings": [{"message": text} for text in self.remarks]})

    def info(self, user: str | None, body: bytes, name: str) -> None:
        found = self._seen(name, user)
        raise Answer(200, {"id": name, "private": found.private, "sha": found.names["main"], "siblings": []})

    def modes(self, user: str | None, body: bytes, name: str, revision: str) -> None:
        files = self._written(name, user)
        told = []
        for one in json.loads(body)["files"]:
            there = files.get(one["path"])
            large = one["path"].endswith(".safetensors")
            # git's name of a small file, the sum of a large one
            oid = None if there is None else hashlib.sha256(there).hexdigest() if large else _blob(there)
            mode = "lfs" if large else "regular"
            told.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        raise Answer(200, {"files": told})

    def batch(self, user: str | None, body: bytes, name: str) -> None:
        self._written(name, user)
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}
            objects.append(one if one["oid"] in self.large else one | {"actions": upload})
        raise Answer(200, {"transfer": "basic", "objects": objects})

    def store(self, user: str | None, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise failure(400, "the content does not have this sum")
        self.large[oid] = body
        raise Answer(200)

    def commit(self, user: str | None, body: bytes, name: str, revision: str) -> None:
        self._written(name, user)
        changes: Files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.large:
                    raise failure(400, f"{value['path']}: its content never arrived")
                changes[value["path"]] = self.large[value["oid"]]
        oid = self.repositories[name].commit(changes)
        raise Answer(200, {"commitUrl": f"{self.url}/{name}/commit/{oid}", "commitOid": oid})

    def resolve(self, user: str | None, body: bytes, name: str, revision: str, path: str) -> None:
        found = self._seen(name, user).at(revision)
        if found is None:
            raise failure(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        commit, files = found
        if path not in files:
            raise Answer(404, b"Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        content = files[path]
        if not path.endswith(".safetensors"):
            raise Answer(200, content, X_Repo_Commit=commit, ETag=f'"{_blob(content)}"')
        oid = hashlib.sha256(content).hexdigest()
        linked = {
            "X_Linked_Etag": f'"{oid}"',
            "X_Linked_Size": str(len(content)),
            "Location": f"{self.storage}/cdn/{oid}",
        }
        raise Answer(302, b"", X_Repo_Commit=commit, ETag=f'"{oid}"', **linked)

    def deliver(self, user: str | None, body: bytes, oid: str) -> None:
        raise Answer(200, self.large[oid], ETag=f'"{oid}"') if oid in self.large else failure(404, "no such file")

    def _seen(self, name: str, user: str | None) -> Repository:
        found = self.repositories.get(name)
        if found is None or (found.private and user != name.partition("/")[0]):
            raise failure(404 if user else 401, "Repository not found", "RepoNotFound")
        return found

    def _written(self, name: str, user: str | None) -> Files:
        self._seen(name, user)
        if user != name.partition("/")[0]:
            raise failure(403, "your token may not write here")
        return self.files(name)


_NAME = r"([^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", r"/api/repos/create", FakeHub.create),
    ("POST", r"/api/validate-yaml", FakeHub.check_card),
    ("GET", rf"/api/models/{_NAME}(?:/revision/main)?", FakeHub.info),
    ("POST", rf"/api/models/{_NAME}/preupload/([^/]+)", FakeHub.modes),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", FakeHub.batch),
    ("PUT", r"/lfs/([0-9a-f]{64})", FakeHub.store),
    ("POST", rf"/api/models/{_NAME}/commit/([^/]+)", FakeHub.commit),
    ("GET HEAD", rf"/{_NAME}/resolve/([^/]+)/(.+)", FakeHub.resolve),
    ("GET HEAD", r"/cdn/([0-9a-f]{64})", FakeHub.deliver),
]


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def hub() -> Iterator[FakeHub]:
    """A Hub without repositories."""
    server = FakeHub()
    try:
        yield server
    finally:
        server.close()
