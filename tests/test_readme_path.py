"""The README from its first comparison to a packed submission, as a new user types it: no step is missing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_stand_in import TOKEN, USER, Hub

README = Path(__file__).resolve().parents[1] / "README.md"
FENCE = re.compile(r"^```(yaml|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, dict[str, list[str]]]:
    """The fenced parts of the README by heading and language."""
    found: dict[str, dict[str, list[str]]] = {}
    for part in re.split(r"^## ", README.read_text(), flags=re.MULTILINE):
        fenced: dict[str, list[str]] = {"yaml": [], "sh": []}
        for language, text in FENCE.findall(part):
            fenced[language].append(text)
        found[part.splitlines()[0] if part else ""] = fenced
    return found


def type_in(command: str) -> int:
    """A command line of `ventral`, in this process (the hub's stand-in is known here alone); its exit code."""
    import typer.main

    from comparisons.cli import app

    words = shlex.split(command, comments=True)
    assert words[0] == "ventral"
    # Not standalone, an exit code comes back as what the command returns.
    ended = typer.main.get_command(app).main(words[1:], standalone_mode=False)
    return ended if isinstance(ended, int) else 0


@pytest.mark.slow
@pytest.mark.data
def test_from_a_first_comparison_to_a_submission(
    tmp_path: Path, data_folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("VENTRAL_DATA", str(data_folder))
    # The check runs the plugin in a process of its own, which has to find the stand-in, too.
    for name, value in {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_CACHE": tmp_path / "hub_cache",
        "HF_HUB_DISABLE_XET": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "my_weights.safetensors")
    pages = sections()
    config: dict[str, Any] = yaml.safe_load(pages["Your first comparison"]["yaml"][0])
    commands = [*pages["Your first comparison"]["sh"]]
    for heading in ("Train and share a dictionary", "Submit to Brain-Score"):
        for part in pages[heading]["yaml"]:
            config |= yaml.safe_load(part)
        commands += pages[heading]["sh"]
    (tmp_path / "my_study.yaml").write_text(yaml.safe_dump(config))
    lines = [line for part in commands for line in part.splitlines() if line.startswith("ventral ")]
    assert [line.split()[1:3] for line in lines][-3:] == [["brain-score", one] for one in ("export", "check", "zip")]
    for line in lines:
        if line.startswith("ventral doctor"):
            continue  # it looks for the real hub
        if line.startswith("ventral brain-score check"):
            line = line.replace("check ", "check --here ")  # a clean environment has a test of its own
        assert type_in(line.replace(" user/", f" {USER}/")) == 0, line
    assert (tmp_path / "runs" / "my_study" / "report.html").is_file()
    assert {f"{USER}/repo", f"{USER}/name"} <= set(hub.repositories)
    assert list(tmp_path.glob("my_submission*.zip"))
