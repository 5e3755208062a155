"""Every command, config and snippet of the README and the documentation is tried: no page promises what is not."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from comparisons import config as configs

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BASE: dict[str, Any] = {
    "name": "page",
    "stimuli": {"kind": "battery", "name": "few", "families": ["scenes"], "size": 32},
    "models": [{"kind": "demo", "name": name} for name in ("mine", "resnet50")],
    "recordings": [{"kind": "simulated", "name": "brain"}],
    "comparisons": [{"kind": "rsa", "sites": ["blocks.*.hook_resid_post"]}],
}


class Block(NamedTuple):
    """A fenced part of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The parts of all pages in one language."""
    found = []
    for page in PAGES:
        content = page.read_text()
        for match in FENCE.finditer(content):
            if match.group(1) == language:
                found.append(Block(page.name, content[: match.start()].count("\n") + 1, match.group(2)))
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words) of every command of a shell block."""
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.split(" > ")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
                words = words[1:]
            if words:
                yield str(block), words


@pytest.mark.parametrize(("where", "words"), [pytest.param(*one, id=f"{one[0]} {one[1][0]}") for one in commands()])
def test_commands_exist_and_take_these_options(where: str, words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, f"{where}: there is no `make {words[1]}`"
    elif words[0] == "ventral":
        parse(words[1:], where)
    elif words[0] in ("python", "python3") and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), f"{where}: there is no {words[1]}"
    else:
        assert words[0] in ("source", "git", "cd", "pip", "sbatch", "uv", "dask", "jupyter", "python"), (
            f"{where}: {words}"
        )


def parse(words: list[str], where: str) -> None:
    """Read words as the command line would, and run nothing."""
    import click
    from typer.main import get_command

    from comparisons.cli import app

    command: Any = get_command(app)
    context = click.Context(command, info_name="ventral")
    while hasattr(command, "commands"):
        found = command.get_command(context, words[0]) if words else None
        assert found is not None, f"{where}: there is no `ventral {' '.join(words)}`"
        command, words = found, words[1:]
        if hasattr(command, "commands"):
            context = click.Context(command, info_name=command.name, parent=context)
    made = command.make_context(command.name, list(words), parent=context)
    given = made.params.get("config")
    if isinstance(given, str) and not given.endswith((".yaml", ".yml")):
        assert given in configs.shipped(), f"{where}: no config {given!r} ships"


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configs_are_valid(block: Block) -> None:
    content = yaml.safe_load(block.text)
    if block.text.startswith("# responses.yaml"):
        from bridge.recordings.table import TableDescription

        TableDescription.model_validate(content)
        return
    if isinstance(content, list):
        content = {"comparisons": content}
    whole = content if {"name", "stimuli"} <= set(content) else {**BASE, **content}
    named = {one["name"] for one in whole.get("models", [])}
    extra = [{"kind": "demo", "name": name} for name in models_named(content) - named]
    configs.parse({**whole, "models": [*whole.get("models", []), *extra]})


def models_named(content: Any) -> set[str]:
    """Models that a part of a config speaks of without stating them."""
    if isinstance(content, dict):
        own = {content["model"]} if isinstance(content.get("model"), str) else set()
        own |= set(content["models"]) if isinstance(content.get("models"), list) and all(
            isinstance(one, str) for one in content["models"]
        ) else set()  # fmt: skip
        return own.union(*(models_named(value) for value in content.values()))
    return set().union(*map(models_named, content)) if isinstance(content, list) else set()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_snippets_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile(block.text, str(block), "exec")
    if "user/" in block.text or "my_study" in block.text:
        return  # speaks of a reader's own repository or study: it is read, not run
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 50, 3), 128, np.uint8)).save("cat.png")
    exec(code, {"__name__": "snippet"})


def test_the_network_of_the_page_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module and the config of `docs/extend.md`, as a reader would type them."""
    (module,) = (block.text for block in blocks("python") if "my_networks.py" in block.text)
    (config,) = (block.text for block in blocks("yaml") if "my_networks.small" in block.text)
    (tmp_path / "my_networks.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    from bridge.models import load

    (spec,) = yaml.safe_load(config)["models"]
    sites = load(spec).sites
    assert "blocks.2.hook_write" in sites
    sys.modules.pop("my_networks", None)


def test_the_comparison_of_the_page_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind of `docs/extend.md`, as a reader would type it: its stages, and that its own source is in their keys."""
    import comparisons.plan
    from bridge.store import Store
    from comparisons.config import load

    (text,) = (block.text for block in blocks("python") if "mean_activity.py" in block.text)
    (tmp_path / "mean_activity.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = comparisons.plan.source_hash
    monkeypatch.setattr(
        comparisons.plan, "source_hash", lambda name: text if name == "mean_activity" else known(name)
    )  # it would stand in comparisons/kinds
    planner = comparisons.plan.Planner(load("demo"), Store(tmp_path / "store"))
    plan = planner.finish(importlib.import_module("mean_activity").MeanActivity().add_stages(planner))
    assert len(plan.results) == len(planner.config.models)
    assert all(plan.stages[name].inputs["code"] == {"mean_activity": text} for name in plan.results)


def test_the_matrix_of_the_page_is_of_this_generator() -> None:
    from bridge.recordings.simulated import GENERATOR

    assert f"generator {GENERATOR}," in (ROOT / "docs" / "confusion_matrix.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        found = page.parent / file if file else page
        assert found.exists(), f"{page.name} leads to {target}, which is not there"
        assert not anchor or anchor in slugs(found.read_text()), f"{page.name}: no heading for {target}"


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_reference_is_what_the_code_says() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]()
    for name, text in pages.items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name} is not current; run `make reference`"


def test_pages_show_the_benchmarks_as_they_were_measured() -> None:
    bench = runpy.run_path(str(ROOT / "benchmarks" / "all.py"))
    rows = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
    assert bench["table"](rows) == (ROOT / "docs" / "benchmarks.md").read_text()
    readme = (ROOT / "README.md").read_text()
    assert bench["quoting"](readme, rows) == readme
    names = {(row["benchmark"], row["name"]) for row in rows}
    assert names >= set(bench["QUOTED"]), "a row that the README quotes has another name now"
    assert not any(row["quick"] for row in rows)
