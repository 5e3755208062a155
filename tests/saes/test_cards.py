"""Model cards and pushing, through the real client to a stand-in of the hub; both libraries load what was pushed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_stand_in import READER, TOKEN, Hub
from typer.testing import CliRunner

import saes
from bridge.errors import ConfigError, InputError, UnreachableError, UserError
from comparisons.cli import app
from saes.cards import card, push
from saes.sae import SAEConfig, SparseAutoencoder

X = torch.randn(60, 8, generator=torch.Generator().manual_seed(7))


def dictionary(seed: int = 0, kind: str = "topk", **metadata: Any) -> SparseAutoencoder:
    about = {
        "model_name": "timm/vit_small_patch16_224.augreg_in21k",
        "hook_name": f"blocks.{seed}.hook_resid_post",
        "stimuli": {"name": "cowley2023_v4", "content": "1234abcd"},
        "seed": seed,
        "trained_as": "batchtopk" if kind == "jumprelu" else kind,
        "metrics": {"fvu": 0.123456, "l0": 4.0, "dead": 0.01, "dense": None, "cosine": 0.9},
        **metadata,
    }
    config = SAEConfig(kind, 8, 20, k=4 if kind == "topk" else None, metadata=about)  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(seed)
    return SparseAutoencoder(config, {n: torch.randn(s, generator=draw) * 0.3 for n, s in config.shapes().items()})


@pytest.fixture
def logged_in(hub: Hub, tmp_path: Path) -> Hub:
    (tmp_path / "token").write_text(TOKEN)
    return hub


def page(hub: Hub, repository: str, path: str = "README.md", branch: str = "main") -> str:
    held = hub.repositories[repository]
    return held.commits[held.heads[branch]][path].decode()


def front(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)---\n", text, re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1])


# ----------------------------------------------------------------------------------------------------------- cards


def test_a_card_says_what_when_and_how_to_load() -> None:
    cfgs = {
        "post/1": {
            "architecture": "jumprelu",
            "d_in": 8,
            "d_sae": 20,
            "metadata": dictionary(1, "jumprelu").config.metadata,
        },
        "post|id": {"architecture": "standard", "d_in": 8, "d_sae": 20},
    }
    text = card(cfgs, "lab/saes", "cc-by-4.0")
    assert front(text) == {
        "library_name": "saelens",
        "tags": ["sparse-autoencoder", "mechanistic-interpretability", "ventral-bridge"],
        "license": "cc-by-4.0",
        "base_model": ["timm/vit_small_patch16_224.augreg_in21k"],
    }
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0] == (
        "| `post/1` | timm/vit_small_patch16_224.augreg_in21k | blocks.1.hook_resid_post | batchtopk (as jumprelu) | 8 "
        "| 20 | not stated | 0.8765 | 0.1235 | 4 | 0.01 | not stated | 0.9 | 1 | cc-by-4.0 |"
    )
    assert rows[1].startswith(r"| `post\|id` | not stated | not stated | standard | 8 | 20 |")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    assert 'saes.load("lab/saes", "post/1")' in text
    assert 'SAE.from_pretrained("lab/saes", "post/1")' in text
    assert "cowley2023_v4" in text
    assert json.loads(text.split("```json\n")[1].split("```")[0]) == cfgs["post/1"]
    alone = card({"sae": {**cfgs["post|id"], "metadata": {"model_name": "ResNet-20"}}}, None)
    assert set(front(alone)) == {"library_name", "tags"}  # no licence is invented, a display name is no base model
    assert 'SAE.load_from_disk("FOLDER/sae")' in alone


def test_dictionaries_stand_network_by_network_and_blocks_by_their_number() -> None:
    ids = ["net/blocks.2.x/topk", "net/blocks.10.x/topk", "net untrained/blocks.2.x/topk"]
    text = card({name: {"architecture": "topk", "d_in": 8, "d_sae": 20} for name in reversed(ids)}, None)
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == ids


# --------------------------------------------------------------------------------------------------------- pushing


def test_what_is_pushed_is_loaded_by_both_libraries(logged_in: Hub, tmp_path: Path) -> None:
    from sae_lens import SAE

    ours = {"layer 1": dictionary(1), "post/2": dictionary(2, "jumprelu")}
    first = saes.save(ours["layer 1"], tmp_path / "one")
    done = push({"layer 1": first, "post/2": ours["post/2"]}, "lab/saes", licence="mit", private=True)
    held = logged_in.repositories["lab/saes"]
    assert (held.private, held.heads["main"], done.ids) == (True, done.commit, ("layer 1", "post/2"))
    assert len(held.commits) == 2  # the hub's own and ours
    assert sorted(held.commits[done.commit]) == sorted(
        [".gitattributes", "README.md"]
        + [f"{name}/{file}" for name in ours for file in ("README.md", "cfg.json", "sae_weights.safetensors")]
    )
    for name, sae in ours.items():
        loaded, theirs = saes.load("lab/saes", name), SAE.from_pretrained("lab/saes", name)
        assert loaded.config.metadata["revision"] == done.commit
        assert torch.equal(loaded(X), sae(X))
        torch.testing.assert_close(sae(X), theirs(X), rtol=0, atol=1e-6)
    assert "post/2" in page(logged_in, "lab/saes")
    assert front(page(logged_in, "lab/saes", "layer 1/README.md"))["license"] == "mit"
    assert len(list(first.iterdir())) == 2  # the folder was left alone


def test_more_dictionaries_join_those_that_are_there(logged_in: Hub, tmp_path: Path) -> None:
    push(dictionary(1), "lab/saes")
    name = "blocks.1.hook_resid_post"
    with pytest.raises(ConfigError, match=rf"lab/saes already has {re.escape(name)}; push under another id"):
        push(dictionary(1), "lab/saes")
    held = logged_in.repositories["lab/saes"]
    assert len(held.commits) == 2
    push({"two": dictionary(2)}, "lab/saes")
    rows = [line for line in page(logged_in, "lab/saes").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [name, "two"]
    again = push({"two": dictionary(3)}, "lab/saes", replace=True)
    assert torch.equal(saes.load("lab/saes", "two", again.commit).W_enc, dictionary(3).W_enc)
    # A page that somebody wrote by hand stays.
    logged_in.add("lab/saes", {"README.md": b"my own words"})
    push({"three": dictionary(4)}, "lab/saes")
    assert page(logged_in, "lab/saes") == "my own words"
    assert "three" in page(logged_in, "lab/saes", "three/README.md")


def test_a_branch_of_its_own(logged_in: Hub) -> None:
    push({"one": dictionary(1)}, "lab/saes")
    done = push({"one": dictionary(2)}, "lab/saes", revision="wider", replace=True)
    held = logged_in.repositories["lab/saes"]
    assert held.heads["wider"] == done.commit != held.heads["main"]
    assert torch.equal(saes.load("lab/saes", "one", "wider").W_enc, dictionary(2).W_enc)
    assert torch.equal(saes.load("lab/saes", "one").W_enc, dictionary(1).W_enc)


def test_what_the_hub_refuses_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    sae, token = dictionary(1), tmp_path / "token"
    with pytest.raises(UnreachableError, match="Nobody is logged in, so nothing can be put into lab/saes"):
        push(sae, "lab/saes")
    token.write_text(READER)
    with pytest.raises(UnreachableError, match=r"hub refuses lab/saes \(.*rights to create.*; log in"):
        push(sae, "lab/saes")
    token.write_text("hf_expired")
    with pytest.raises(UnreachableError, match=r"hub refuses lab/saes \(Invalid credentials"):
        push(sae, "lab/saes")
    token.write_text(TOKEN)
    with pytest.raises(UnreachableError, match=r"hub refuses others/saes \(.*namespace"):
        push(sae, "others/saes")
    push(sae, "lab/saes", private=False)
    with pytest.raises(ConfigError, match="lab/saes exists and is public, and it is to be private"):
        push({"new": sae}, "lab/saes", private=True)
    asked = len(hub.requests)
    for name in ("saes", "lab/sa es", "lab/saes/one"):
        with pytest.raises(ConfigError, match="is no repository's name; give user/name"):
            push(sae, name)
    for id in ("../up", "a//b", "", ".", "a\\b"):
        with pytest.raises(ConfigError, match="cannot be a dictionary's id"):
            push({id: sae}, "lab/saes")
    assert len(hub.requests) == asked
    hub.stop()
    with pytest.raises(
        UnreachableError, match=r"lab/saes cannot be reached .*; connect to the network and try"
    ) as caught:
        push({"new": sae}, "lab/saes")
    assert "\n" not in str(caught.value)


def test_nothing_damaged_is_published(logged_in: Hub, tmp_path: Path) -> None:
    folder = saes.save(dictionary(1), tmp_path / "one")
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(InputError, match="truncated or changed"):
        push(folder, "lab/saes")
    with pytest.raises(ConfigError, match="holds no dictionary"):
        push(tmp_path / "absent", "lab/saes")
    assert not logged_in.repositories


# -------------------------------------------------------------------------------------------------- the command line


def test_the_command(logged_in: Hub, tmp_path: Path) -> None:
    for index in (1, 2):
        saes.save(dictionary(index), tmp_path / "all" / f"layer_{index}")
    result = CliRunner().invoke(app, ["sae", "push", str(tmp_path / "all"), "lab/saes", "--licence", "mit"])
    assert result.exit_code == 0, result.output
    commit = logged_in.repositories["lab/saes"].heads["main"]
    assert result.stdout == f"lab/saes layer_1\nlab/saes layer_2\ncommit {commit}\n"
    single = ["sae", "push", str(tmp_path / "all" / "layer_1")]
    result = CliRunner().invoke(app, [*single, "lab/saes"])
    assert isinstance(result.exception, ConfigError)
    assert CliRunner().invoke(app, [*single, "lab/saes", "--replace", "--message", "again"]).exit_code == 0
    assert logged_in.repositories["lab/saes"].messages[-1] == "again"
    assert CliRunner().invoke(app, [*single, "lab/saes", "--id", "copy", "--revision", "b"]).exit_code == 0
    assert "copy/cfg.json" in logged_in.repositories["lab/saes"].commits[logged_in.repositories["lab/saes"].heads["b"]]
    for more, words in (
        (["lab/saes", "--id", "a", "--id", "b"], "2 --id were given for 1 folders"),
        ([str(tmp_path / "all"), "lab/saes"], "Two folders would be 'layer_1'"),
    ):
        result = CliRunner().invoke(app, [*single, *more])
        assert isinstance(result.exception, UserError)
        assert words in str(result.exception)
