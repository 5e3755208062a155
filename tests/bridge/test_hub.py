"""Files of the hub, through the real client against a stand-in on loopback: commits, the cache, what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_stand_in import TOKEN, Hub

from bridge.errors import ConfigError, InputError, UnreachableError
from bridge.hub import cached_names, check_cached, commit_of, fetched_file, file_names


@pytest.fixture
def repository(hub: Hub) -> str:
    hub.add("lab/net", {"config.json": b"{}", "weights.safetensors": bytes(range(256))})
    return hub.repositories["lab/net"].heads["main"]


def test_a_commit_is_resolved_once_and_remembered(hub: Hub, repository: str) -> None:
    assert commit_of("lab/net", None) == commit_of("lab/net", "main") == repository
    assert len(hub.asked()) == 1
    newer = hub.add("lab/net", {"config.json": b"[]"})
    assert commit_of("lab/net", None) == repository
    with pytest.raises(ConfigError, match=f"lab/net has changed.*'main' was {repository} .* is {newer} now"):
        commit_of("lab/net", None, ask=True)
    assert commit_of("lab/net", newer, ask=True) == newer
    asked = len(hub.asked())
    for _ in range(2):
        assert file_names("lab/net", repository) == ["config.json", "weights.safetensors"]
    assert len(hub.asked()) == asked + 1


def test_a_branch_is_a_revision_of_its_own(hub: Hub, repository: str) -> None:
    other = hub.add("lab/net", {"weights.safetensors": b"1"}, branch="half")
    assert commit_of("lab/net", "half", ask=True) == other
    path = fetched_file("lab/net", other, "weights.safetensors")
    assert path is not None
    assert path.read_bytes() == b"1"
    assert fetched_file("lab/net", repository, "absent.txt") is None


def test_offline_the_cache_serves(hub: Hub, repository: str) -> None:
    fetched_file("lab/net", commit_of("lab/net", None), "config.json")
    hub.stop()
    assert commit_of("lab/net", None, ask=True) == repository
    assert cached_names("lab/net", repository) == ["config.json"]
    with pytest.raises(UnreachableError, match="lab/net cannot be fetched"):
        file_names("lab/net", repository)
    with pytest.raises(UnreachableError, match="lab/other cannot be fetched") as caught:
        commit_of("lab/other", None)
    assert "\n" not in str(caught.value)
    with pytest.raises(UnreachableError, match="lab/net cannot be fetched"):
        file_names("lab/net", "b" * 40)


def test_what_does_not_exist_or_is_private(hub: Hub, repository: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no repository or revision 'lab/absent' that can be read"):
        commit_of("lab/absent", None)
    with pytest.raises(ConfigError, match="no repository or revision 'lab/net'"):
        commit_of("lab/net", "v9")
    hub.repositories["lab/net"].private = True
    with pytest.raises(ConfigError, match="no repository or revision 'lab/net'"):
        commit_of("lab/net", None)
    (tmp_path / "token").write_text(TOKEN)
    assert commit_of("lab/net", None) == repository
    (tmp_path / "token").write_text("hf_expired")
    with pytest.raises(UnreachableError, match=r"hub refuses lab/absent \(Invalid credentials.*hf auth login"):
        commit_of("lab/absent", None)


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_damaged_file_of_the_cache_is_seen(hub: Hub, repository: str, name: str) -> None:
    path = fetched_file("lab/net", repository, name)
    assert path is not None
    check_cached(path)
    path.resolve().write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{name} is not the file that the hub has"):
        check_cached(path)


def test_a_download_that_breaks_off_leaves_nothing(hub: Hub, repository: str, tmp_path: Path) -> None:
    hub.truncated.add("weights.safetensors")
    with pytest.raises(UnreachableError, match="lab/net cannot be fetched"):
        fetched_file("lab/net", repository, "weights.safetensors")
    assert cached_names("lab/net", repository) == []
    hub.truncated.clear()
    path = fetched_file("lab/net", repository, "weights.safetensors")
    assert path is not None
    assert path.read_bytes() == bytes(range(256))
