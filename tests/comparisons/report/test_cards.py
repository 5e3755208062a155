"""Feature cards: drawn with everything and with nothing known, safe for text from anywhere, asked for by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bridge.errors import ConfigError
from comparisons.card_command import collect, write_cards
from comparisons.config import parse
from comparisons.lineage import History
from comparisons.report.cards import Card, draw_card


@pytest.fixture
def card() -> Card:
    rng = np.random.default_rng(0)
    levels, fine = np.arange(0, 180, 15.0), np.linspace(0, 180, 50)
    curve = (levels, np.cos(np.deg2rad(levels)) ** 2, fine, np.cos(np.deg2rad(fine)) ** 2)
    steps = (np.array([0.1, 0.5, 1.0]), np.array([0.1, 0.5, 0.7]), np.array([0.1, 1.0]), np.array([0.1, 0.7]))
    return Card(
        title="net <script>, $x$",
        subtitle="depth 0.5",
        stimuli=rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8),
        heat=rng.random((6, 8, 8)),
        values=np.arange(6.0),
        orientation=curve,
        frequency=steps,
        phase=(np.arange(0, 360, 30.0), np.ones(12)),
        contrast=steps,
        field=rng.standard_normal((9, 9)),
        fitted=rng.standard_normal((9, 9)),
        history=History(
            np.array([0, 0.5, 1.0]), np.array([0.2, 1.0, 0.8]), np.array([False, True, True]), own=1, chance=0.1
        ),
        facts=[("label", "simple"), ("<b>", "&")],
    )


def test_a_card_is_a_picture_and_a_page(card: Card, tmp_path: Path) -> None:
    png, page = draw_card(card, tmp_path, "net/site 3")
    assert (png.name, page.name) == ("net-site-3.png", "net-site-3.html")
    assert Image.open(png).size == (960, 1065)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'" in text
    assert "<th>&lt;b&gt;</th><td>&amp;</td>" in text
    assert draw_card(card, tmp_path / "again", "x")[0].read_bytes() == png.read_bytes()


def test_what_is_not_known_is_left_out(card: Card, tmp_path: Path) -> None:
    bare = replace(
        card, heat=None, orientation=None, frequency=None, phase=None, contrast=None, field=None, fitted=None,
        history=None, facts=[],
    )  # fmt: skip
    assert draw_card(bare, tmp_path, "bare")[0].exists()


def test_cards_are_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(
        {
            "name": "x",
            "stimuli": {"kind": "battery", "name": "few", "families": ["blanks"]},
            "models": [{"kind": "demo", "name": "net", "network": "residual"}],
        }
    )
    for text, said in (
        ("net", "expected MODEL:SITE:FEATURE"),
        ("nat:blocks.0.hook_write:1", "did you mean 'net'"),
        ("net:blocks.77.hook_write:1", "no site"),
        ("net:blocks.0.hook_write:9999", "has features 0 to"),
        ("net:blocks.0.hook_write/topk:3", "no dictionary"),
    ):
        with pytest.raises(ConfigError, match=said):
            write_cards(config, [text], tmp_path)
    monkeypatch.setattr("comparisons.card_command.NOISE", 200)
    monkeypatch.setattr("comparisons.card_command.SCENES", 30)
    (found,) = collect(config, config.models[0], [("blocks.1.hook_resid_post", 2)])
    assert len(found.stimuli) == 6
    assert (np.diff(found.values) <= 0).all()
    assert found.history is not None
    assert found.history.r[found.history.own] == 1
    assert found.history.matched[found.history.own]
    assert found.field is not None
    assert dict(found.facts)["label"] in ("simple", "complex", "untuned", "unresponsive", "dead", "constant")
