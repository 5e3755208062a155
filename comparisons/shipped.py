"""The configs that come with the project. Imports nothing heavy: the command line completes their names."""

from __future__ import annotations

from pathlib import Path


def shipped() -> dict[str, Path]:
    """The configs that come with the project, by name."""
    inside = Path(__file__).parent / "_configs"  # in a wheel
    folder = inside if inside.is_dir() else Path(__file__).parent.parent / "configs"  # in a checkout
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
