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

    def places(self) -> tuple[list[str], str | None]:
        """The sites that it reads and the one that it writes where that is another: the stated site, else what the
        cfg.json of a folder or a hub repository names; ([], None) where nothing does. Imports no torch.

        Raises UnreachableError without a network.
        """
        from saes.identity import plain_site

        cfg = self._cfg()
        about = stated if isinstance(stated := cfg.get("metadata"), dict) else {}
        named = self.site or about.get("hook_name") or cfg.get("hook_name")
        reads = about.get("sites") or ([named] if named else [])
        writes = about.get("hook_name_out")
        return [plain_site(str(name)) for name in reads], plain_site(str(writes)) if writes else None

    def _cfg(self) -> dict[str, Any]:
        """What a SAELens dictionary says of itself; {} for other formats and releases of the registry."""
        import json

        from bridge.hub import commit_of, fetched_file, is_local

        if not is_local(self.path) and "/" not in self.path:
            return {}
        commit = None if is_local(self.path) else commit_of(self.path, self.revision)
        path = fetched_file(self.path, commit, f"{self.id}/cfg.json" if self.id else "cfg.json")
        try:
            found = json.loads(path.read_bytes()) if path else {}
        except (OSError, ValueError):
            return {}  # damaged: loading says so
        return found if isinstance(found, dict) else {}
