"""A small stand-in for the Hugging Face hub on loopback, which the real `huggingface_hub` client talks to.

It keeps repositories with their commits and branches in memory, gives files with the hub's headers (commit, hash),
takes commits (large files through the LFS protocol), and answers 401, 403, 404 and 409 as the hub does. A test may cut
downloads short (`truncated`) and look at what was asked for (`requests`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".pt", ".pth", ".bin")
"""What goes through LFS, as the hub's .gitattributes have it."""
TOKEN, READER = "hf_standinwrite", "hf_standinread"
USER = "lab"


@dataclass
class Repository:
    """Commits by id, oldest first, and the branches' heads."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Add a commit with these files beside those of the branch's head; its id."""
        content = {**self.commits.get(self.heads.get(branch, ""), {}), **files}
        name = hashlib.sha1(f"{len(self.commits)} {branch} {sorted(content)}".encode()).hexdigest()
        self.commits[name], self.heads[branch] = content, name
        self.messages.append(message)
        return name

    def at(self, revision: str) -> str | None:
        """The commit of a branch or commit id."""
        return revision if revision in self.commits else self.heads.get(revision)


class Hub:
    """The server; `with Hub() as hub:` runs it, `hub.address` is its endpoint."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.truncated: set[str] = set()
        self.requests: list[str] = []
        self.gone = False

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            state = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on there is no network."""
        self.gone = True  # connections that the client keeps open end with their next request
        self.server.shutdown()
        self.server.server_close()

    def asked(self, words: str = "") -> list[str]:
        """The requests about models, of those that contain some words."""
        return [request for request in self.requests if "agent-harnesses" not in request and words in request]

    @property
    def address(self) -> str:
        """The endpoint to give to the client."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put files into a repository, made if needed, as one commit; its id."""
        return self.repositories.setdefault(name, Repository()).commit(files, branch)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    # ------------------------------------------------------------------------------------------------- answering

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.state.gone:
            self.close_connection = True
            return
        self.state.requests.append(f"{self.command} {path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b""
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.may_write, self.may_read = token == TOKEN, token in (TOKEN, READER)
        parts = path.strip("/").split("/")
        if token and not self.may_read:
            self._error(401, None, "Invalid credentials in Authorization header")
        elif parts[0] == "api":
            self._api(parts[1:])
        elif parts[0] == "lfs":
            self._store(parts[1])
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch("/".join(parts[:2]).removesuffix(".git"))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._error(404, None, "no such page")

    def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **headers})

    def _error(self, status: int, code: str | None, words: str) -> None:
        headers = {"X-Error-Message": words} | ({"X-Error-Code": code} if code else {})
        self._json({"error": words}, status, **headers)

    def _repository(self, name: str) -> Repository | None:
        """A repository that this caller may see; else the hub's answer: 401 to strangers, 404 to users."""
        found = self.state.repositories.get(name)
        if found is None or (found.private and not self.may_read):
            self._error(404 if self.may_read else 401, "RepoNotFound", "Repository not found")
            return None
        return found

    # ----------------------------------------------------------------------------------------------------- reading

    def _api(self, parts: list[str]) -> None:
        if parts[0] == "whoami-v2":
            self._json({"name": USER, "type": "user"}) if self.may_read else self._error(401, None, "Unauthorized")
        elif parts[0] == "validate-yaml":
            text = json.loads(self.body)["content"]
            self._json({"errors": [] if text.startswith("---\n") else [{"message": "no metadata"}], "warnings": []})
        elif parts[:2] == ["repos", "create"]:
            self._create(json.loads(self.body))
        elif parts[0] == "models" and len(parts) >= 3:
            name, rest = "/".join(parts[1:3]), parts[3:]
            repository = self._repository(name)
            if repository is None:
                return
            if rest[:1] in (["preupload"], ["commit"], ["branch"]):
                self._write(name, repository, rest)
                return
            revision = "/".join(rest[1:]) if rest[:1] in (["revision"], ["tree"]) else "main"
            commit = repository.at(revision)
            if commit is None:
                self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return
            files = repository.commits[commit]
            if rest[:1] == ["tree"]:
                self._json([{"type": "file", "path": path, "size": len(files[path]), "oid": ""} for path in files])
            else:
                siblings = [{"rfilename": path} for path in files]
                self._json({"id": name, "sha": commit, "siblings": siblings, "private": repository.private, "tags": []})
        else:
            self._error(404, None, "no such call")

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        commit = repository.at(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        data = repository.commits[commit].get(path)
        if data is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        if path.endswith(LARGE):
            etag = hashlib.sha256(data).hexdigest()
        else:
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if path in self.state.truncated and self.command == "GET":
            self._send(200, data[: len(data) // 2], headers, length=len(data))
            self.close_connection = True
        else:
            self._send(200, data, headers)

    # ----------------------------------------------------------------------------------------------------- writing

    def _create(self, asked: dict[str, Any]) -> None:
        owner = asked.get("organization") or USER
        name = f"{owner}/{asked['name']}"
        if not self.may_write:
            self._error(403 if self.may_read else 401, None, "You don't have the rights to create a model")
        elif owner != USER:
            self._error(403, None, f"You don't have the rights to create a model under the namespace {owner!r}")
        elif name in self.state.repositories:
            self._error(409, None, "You already created this model repo")
        else:
            repository = self.state.repositories[name] = Repository(
                private=bool(asked.get("private") or asked.get("visibility") == "private")
            )
            repository.commit({".gitattributes": b""}, message="initial commit")
            self._json({"url": f"{self.state.address}/{name}", "name": name})

    def _write(self, name: str, repository: Repository, rest: list[str]) -> None:
        branch = "/".join(rest[1:])
        if not self.may_write or not name.startswith(f"{USER}/"):
            self._error(403 if self.may_read else 401, None, "You don't have write access to this repo")
        elif rest[0] == "branch":
            if branch in repository.heads:
                self._error(409, None, "Reference already exists")
            else:
                repository.heads[branch] = repository.heads["main"]
                self._json({})
        elif branch not in repository.heads:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        elif rest[0] == "preupload":
            files = [entry["path"] for entry in json.loads(self.body)["files"]]
            modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in files}
            self._json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        else:
            self._commit(name, repository, branch)

    def _commit(self, name: str, repository: Repository, branch: str) -> None:
        files, message = {}, ""
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.state.large:
                    self._error(400, None, f"{value['path']} was not uploaded")
                    return
                files[value["path"]] = self.state.large[value["oid"]]
        commit = repository.commit(files, branch, message)
        self._json({"success": True, "commitOid": commit, "commitUrl": f"{self.state.address}/{name}/commit/{commit}"})

    def _batch(self, name: str) -> None:
        if not self.may_write:
            self._error(403, None, "no write access")
            return
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.state.address}/lfs/{entry['oid']}"}}}
            for entry in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            self._error(400, None, "the content has another hash")
            return
        self.state.large[oid] = self.body
        self._json({})
