"""`kind: load`: a dictionary from a folder, the Hugging Face hub, or SAELens's registry."""

from __future__ import annotations

from typing import Any, Literal

from saes.specs.base import SAESpec


class LoadSAE(SAESpec):
    """A dictionary that was trained before, here or elsewhere."""

    kind: Literal["load"] = "load"
    path: str
    """A folder, a hub repository (user/name), or a release of SAELens's registry."""
    id: str | None = None
    """The dictionary's folder in the repository, or its id in the release."""
    revision: str | None = None
    """Branch, tag or commit of the repository."""
    site: str | None = None
    """The site that it is of; what the dictionary names where left out."""

    def fingerprint(self) -> dict[str, Any]:
        """What identifies its files: their sha256, or the repository's commit. Imports no torch.

        Raises InputError for a missing folder, UnreachableError without a network.
        """
        from bridge.hub import commit_of, is_local
        from bridge.store import file_sha256

        content = self.content()
        del content["name"], content["models"]
        if is_local(self.path):
            from pathlib import Path

            from bridge.errors import InputError

            folder = Path(self.path).expanduser() / (self.id or "")
            files = sorted(path for path in folder.glob("*") if path.suffix in (".json", ".safetensors", ".pt"))
            if not files:
                raise InputError(
                    f"{folder} holds no dictionary; give a folder with cfg.json and sae_weights.safetensors."
                )
            return {**content, "path": {path.name: file_sha256(path) for path in files}}
        return {**content, "revision": commit_of(self.path, self.revision) if "/" in self.path else self.revision}

    def named_site(self) -> str | None:
        """The site that a folder's cfg.json names; None where there is no such file. Imports no torch."""
        import json
        from pathlib import Path

        try:
            config = json.loads((Path(self.path).expanduser() / (self.id or "") / "cfg.json").read_text())
            return config["metadata"]["hook_name"] or None
        except (OSError, ValueError, KeyError, TypeError):
            return None
