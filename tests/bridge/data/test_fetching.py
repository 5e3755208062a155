"""Fetching from a real server on the loopback address: what arrives is whole and the declared bytes, or nothing."""

from __future__ import annotations

import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.data import DataFile, Dataset
from bridge.data.fetching import data_cache
from bridge.errors import ConfigError, InputError, StorageError, UnreachableError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path == "/corrupted":
            self.wfile.write(CONTENT[:-1] + b"?")
        elif self.path == "/truncated":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
        elif self.path == "/slow":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            self.server.released.wait(20)  # type: ignore[attr-defined]
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.seen = []  # type: ignore[attr-defined]
        found.released = threading.Event()  # type: ignore[attr-defined]
        found.daemon_threads = True
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield found
        found.released.set()  # type: ignore[attr-defined]
        found.shutdown()


def one_file(address: str | None, local_only: str = "") -> Dataset:
    entry = DataFile("file", "set/file.bin", SHA256, address)
    return Dataset("set", "A set", (entry,), "MIT", "Nobody", "One file", local_only)


def at(server: http.server.ThreadingHTTPServer, path: str) -> Dataset:
    return one_file(f"http://127.0.0.1:{server.server_address[1]}{path}")


def files_left() -> list[str]:
    """Everything in the cache but locks, which are empty, and marks of verified files."""
    kept = [path.relative_to(data_cache()) for path in data_cache().rglob("*") if path.is_file()]
    return [str(path) for path in kept if ".locks" not in path.parts and ".verified" not in path.parts]


def test_a_good_file_is_fetched_once(server: http.server.ThreadingHTTPServer) -> None:
    data = at(server, "/good")
    assert not data.available()
    path = data.file("file")
    assert path == data_cache() / "set" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert data.fetch() == [path]
    assert data.available()
    assert server.seen == ["/good"]  # type: ignore[attr-defined]
    assert files_left() == ["set/file.bin"]


def test_corrupted_bytes_are_named_and_not_kept(server: http.server.ThreadingHTTPServer) -> None:
    got = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()
    with pytest.raises(InputError) as error:
        at(server, "/corrupted").file("file")
    for part in ("/corrupted", SHA256, got, "nothing was kept"):
        assert part in str(error.value)
    assert files_left() == []


@pytest.mark.parametrize(("path", "reason"), [("/truncated", "broke off"), ("/missing", "answered 404")])
def test_a_server_that_fails_leaves_nothing(server: http.server.ThreadingHTTPServer, path: str, reason: str) -> None:
    with pytest.raises(UnreachableError, match=reason) as error:
        at(server, path).file("file")
    assert str(data_cache() / "set" / "file.bin") in str(error.value)
    assert "VENTRAL_DATA" in str(error.value)
    assert "\n" not in str(error.value)
    assert files_left() == []


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(UnreachableError, match="no connection to the server") as error:
            one_file(address).file("file")
    assert address in str(error.value)
    assert files_left() == []


def test_a_fetch_killed_half_way_leaves_nothing_under_the_name(server: http.server.ThreadingHTTPServer) -> None:
    address = f"http://127.0.0.1:{server.server_address[1]}/slow"
    target = data_cache() / "set" / "file.bin"
    script = (
        "import sys; from pathlib import Path; from bridge.data.fetching import fetch_file; "
        "fetch_file(sys.argv[1], sys.argv[2], Path(sys.argv[3]))"
    )
    root = Path(__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", script, address, SHA256, str(target)],
        env={**os.environ, "PYTHONPATH": str(root)},
        cwd=root,
        stderr=subprocess.DEVNULL,
    )
    part = target.parent / ".partial" / target.name / target.name
    deadline = time.monotonic() + 20
    while not (part.is_file() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    half = part.stat().st_size
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 100_000 < half < len(CONTENT)
    assert not target.exists()
    assert not at(server, "/good").available()
    # The next fetch clears the part away and completes.
    assert at(server, "/good").file("file").read_bytes() == CONTENT
    assert files_left() == ["set/file.bin"]


def test_a_damaged_cache_file_is_fetched_again(server: http.server.ThreadingHTTPServer) -> None:
    data = at(server, "/good")
    path = data.file("file")
    path.write_bytes(b"?" * len(CONTENT))
    os.utime(path, ns=(1, 1))
    assert data.file("file").read_bytes() == CONTENT
    assert server.seen == ["/good", "/good"]  # type: ignore[attr-defined]


def test_the_given_folder_comes_first_and_is_verified(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = at(server, "/good")
    local = tmp_path / "set" / "file.bin"
    local.parent.mkdir()
    local.write_bytes(CONTENT)
    monkeypatch.setenv("VENTRAL_DATA", str(tmp_path))
    assert data.file("file") == local
    assert server.seen == []  # type: ignore[attr-defined]
    local.write_bytes(b"other")
    with pytest.raises(InputError, match="is not the one that data set 'set' declares") as error:
        data.file("file")
    assert SHA256 in str(error.value)
    assert hashlib.sha256(b"other").hexdigest() in str(error.value)
    local.unlink()
    assert data.file("file") == data_cache() / "set" / "file.bin"
    monkeypatch.setenv("VENTRAL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="not a folder"):
        data.file("file")


def test_a_verified_file_is_not_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bridge.data import fetching

    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    read = []

    def counted(given: Path) -> str:
        read.append(given)
        return hashlib.sha256(given.read_bytes()).hexdigest()

    monkeypatch.setattr(fetching, "file_sha256", counted)
    assert fetching.is_verified(path, SHA256)
    monkeypatch.setattr(fetching, "_verified", set())  # as in another process
    assert fetching.is_verified(path, SHA256)
    assert len(read) == 1
    path.write_bytes(CONTENT[:-1] + b"?")
    os.utime(path, ns=(1, 1))
    assert not fetching.is_verified(path, SHA256)
    assert len(read) == 2


def test_a_cache_that_cannot_be_written_is_named(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the cache folder should be")
    monkeypatch.setenv("VENTRAL_CACHE", str(tmp_path / "taken"))
    with pytest.raises(StorageError, match="VENTRAL_CACHE"):
        at(server, "/good").file("file")


def test_a_local_only_file_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    with pytest.raises(UnreachableError, match="because it is ours"):
        one_file(None, "because it is ours.").file("file")


def test_a_terminal_sees_a_bar_that_fills(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.data import fetching

    bars: list[fetching._Bar] = []

    def shown(name: str) -> fetching._Bar:
        bars.append(fetching._Bar(name))
        return bars[-1]

    monkeypatch.setattr(fetching, "_progress", shown)
    at(server, "/good").file("file")
    (task,) = bars[0].progress.tasks
    assert task.description == "file.bin"
    assert task.completed == task.total == len(CONTENT)


def test_a_log_gets_one_plain_line(server: http.server.ThreadingHTTPServer, capfd: pytest.CaptureFixture[str]) -> None:
    at(server, "/good").file("file")
    assert capfd.readouterr().err == f"Fetching file.bin ({len(CONTENT) / 1e6:.1f} MB)\n"


def test_a_file_without_a_declared_hash_is_recorded_by_its_own(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.data.fetching import identity

    monkeypatch.delenv("VENTRAL_DATA", raising=False)
    address = f"http://127.0.0.1:{server.server_address[1]}/good"
    data = Dataset("set", "A set", (DataFile("file", "set/file.bin", None, address),), "MIT", "Nobody", "One file")
    path = data.file("file")
    assert path.read_bytes() == CONTENT
    assert data.file("file") == path
    assert server.seen == ["/good"]  # type: ignore[attr-defined]
    assert identity(path) == f"sha256:{SHA256}"
    data.check_reachable()  # it is here: nobody is asked
    by_hand = DataFile("file", "set/large.bin", None, address, by_hand=True)
    data = Dataset("set", "A set", (by_hand,), "MIT", "Nobody", "One file")
    with pytest.raises(UnreachableError, match="too large; its address is http"):
        data.file("file")
    assert data.fetch() == []


def test_whether_a_source_answers_is_found_out_without_fetching(server: http.server.ThreadingHTTPServer) -> None:
    gone = at(server, "/missing")
    server.shutdown()
    server.server_close()
    with pytest.raises(UnreachableError, match=r"'set' would have to be fetched, and http.*VENTRAL_DATA") as error:
        gone.check_reachable()
    assert "\n" not in str(error.value)
