"""From a config's section `submission` to a plugin's directory: complete, compared with this project's own numbers.

DIR/__init__.py            model_registry['ID'] = lambda: commitment('ID'), literal, a line each
    model.py, stream.py, dictionary.py, backbone.py, weights.py      the files of `plugin/` as they stand
    network.py             the network's own code, where no library makes it
    submission.json        everything that differs between submissions
    region_layer_map/ID.json, region_choice.json
    weights/*.safetensors  or files of a hub repository at a commit; either with their sha256
    test.py, requirements.txt, README.md, citation.bib, metadata.yaml

The directory appears when it is whole and its features are those of this project; before that nothing is written.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import ConfigError
from bridge.store import Store, copy_folder, file_sha256
from comparisons.brainscore.chosen_parts import feature_of, submission_of
from comparisons.brainscore.network_made import Made
from comparisons.brainscore.preparing import Ingredients, found_readout, prepared, preprocessing_of, sites_of
from comparisons.brainscore.verifying import compare
from comparisons.running import Reporter

if TYPE_CHECKING:
    from comparisons.config import Config

PLUGIN = Path(__file__).parent / "plugin"
COPIED = ("model.py", "stream.py", "dictionary.py", "backbone.py", "weights.py")
SUBMISSION = "submission.json"
BUNDLED_BYTES = 45_000_000
"""Weights that may go into the zip, of 50 MB in all: they hardly shrink when they are packed."""


@dataclass
class Exported:
    """What an export made."""

    folder: Path
    identifiers: list[str]
    regions: dict[str, str]
    commit: str | None = None
    notices: list[str] = field(default_factory=list)


def export(
    config: Config,
    out: Path,
    *,
    reporter: Reporter,
    store: Store | None = None,
    push: str | None = None,
    replace: bool = False,
) -> Exported:
    """Write the plugin of a config's submission into `out`.

    With `push` the weights go to that repository of the hub, and the plugin names its commit; else those that neither
    the network's library nor the hub has are bundled. Raises ConfigError and InputError for what cannot be submitted,
    UnreachableError without a network where one is needed, StorageError where `out` cannot be written.
    """
    store = store or Store()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not replace:
        raise ConfigError(f"{out} is there already; give another folder with --out, or --replace it.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", out.resolve().name):
        raise ConfigError(f"--out: {out.name} is no Python package's name; give letters, digits and _ alone.")
    check_new(list(submission_of(config).identifiers()))
    ready = prepared(config, store, reporter)
    exported = Exported(out, list(ready.parts.spec.identifiers()), dict(ready.regions))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / ready.parts.spec.directory()
        write_plugin(folder, ready)
        exported.notices += compare(folder, ready)
        if push is not None:
            exported.commit = pushed(folder, push)
        size = sum(path.stat().st_size for path in (folder / "weights").glob("*")) if push is None else 0
        if size > BUNDLED_BYTES:
            raise ConfigError(
                f"The weights take {size / 1e6:.0f} MB, and a zip for Brain-Score has room for "
                f"{BUNDLED_BYTES / 1e6:.0f} MB of them; put them into a repository of the hub with --push user/name."
            )
        if (folder / "metadata.yaml").exists():
            exported.notices.append(
                "The plugin holds metadata.yaml: Brain-Score core 2.5.0 then waits for a person to merge it."
            )
        if (folder / "weights").is_dir() and not any((folder / "weights").iterdir()):
            (folder / "weights").rmdir()
        copy_folder(folder, out)
    return exported


def check_new(identifiers: list[str]) -> None:
    """Raise ConfigError for a name that the installed Brain-Score registers already."""
    from comparisons.brainscore.identifiers import registered_models

    for name in identifiers:
        if name in (known := registered_models()):
            raise ConfigError(
                f"Brain-Score has a model {name!r} already (models/{known[name]}); give it another identifier."
            )


# -------------------------------------------------------------------------------------------------------- writing


def write_plugin(folder: Path, ready: Ingredients) -> None:
    """All files of the plugin, with the weights in `folder/weights` unless a library or a hub's commit has them."""
    from comparisons.brainscore.card import readme
    from comparisons.brainscore.weight_files import dictionary_entries, network_entry

    spec = ready.parts.spec
    (folder / "weights").mkdir(parents=True)
    (folder / "region_layer_map").mkdir()
    for name in COPIED:
        shutil.copyfile(PLUGIN / name, folder / name)
    shutil.copyfile(PLUGIN / "plugin_test.py", folder / "test.py")
    if ready.made.source is not None:
        shutil.copyfile(ready.made.source, folder / "network.py")
    models = {}
    readout = spec.readout or found_readout(ready.backbone)
    if spec.readout is not None and spec.readout not in dict(ready.backbone.module.named_modules()):
        from bridge.errors import did_you_mean

        modules = [name for name, _ in ready.backbone.module.named_modules() if name]
        raise ConfigError(
            f"submission.readout: there is no module {spec.readout!r}; {did_you_mean(spec.readout, modules)}."
        )
    for identifier, kind in spec.identifiers().items():
        models[identifier] = {
            "features": {site: feature_of(ready.parts, kind, site, ready.scores) for site in ready.sites},
            "readout": f"network.{readout}" if readout else f"stream.{ready.sites[-1]}",
        }
        layers = {region: f"stream.{site}" for region, site in ready.regions.items()}
        (folder / "region_layer_map" / f"{identifier}.json").write_text(json.dumps(layers, indent=1))
    about = {
        "format": 1,
        "network": {**ready.made.as_json(), **network_entry(ready, folder / "weights")},
        "preprocessing": preprocessing_of(ready.backbone),
        "layout": ready.backbone.layout,
        "pool": spec.pool,
        "degrees": ready.backbone.degrees,
        "batch_size": spec.batch_size,
        "sites": sites_of(ready.backbone, ready.sites),
        "dictionaries": dictionary_entries(ready, folder / "weights") if ready.saes else {},
        "models": models,
    }
    write_submission(folder, about)
    if ready.choice:
        (folder / "region_choice.json").write_text(json.dumps(ready.choice, indent=1))
    (folder / "__init__.py").write_text(registration(spec.identifiers()))
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements(ready.made)))
    (folder / "citation.bib").write_text(spec.bibtex + ("\n" if spec.bibtex else ""))
    (folder / "README.md").write_text(readme(ready, about, folder), encoding="utf-8")
    if spec.metadata:
        from comparisons.brainscore.metadata import metadata

        (folder / "metadata.yaml").write_text(metadata(ready), encoding="utf-8")


def write_submission(folder: Path, about: Mapping[str, Any]) -> None:
    """submission.json."""
    (folder / SUBMISSION).write_text(json.dumps(about, indent=1, allow_nan=False), encoding="utf-8")


def registration(identifiers: Mapping[str, str]) -> str:
    """The plugin's __init__.py. Brain-Score finds identifiers by a search for `model_registry[...]` line by line, from
    the first to the last bracket of the line: each stands alone on one, in plain text.

    >>> print(registration({"my-model": "raw"}).splitlines()[-1])
    model_registry['my-model'] = lambda: commitment('my-model')
    """
    lines = [f"model_registry['{name}'] = lambda: commitment('{name}')" for name in identifiers]
    imports = "from brainscore_vision import model_registry\n\nfrom .model import commitment\n\n"
    return '"""Features of a residual stream; see README.md."""\n\n' + imports + "\n".join(lines) + "\n"


def requirements(made: Made) -> list[str]:
    """The lines of requirements.txt. The library that makes the network is pinned: another version may make another."""
    from importlib.metadata import version

    pinned = [f"{name}=={version(name)}" for name in made.requirements]
    return ["torch", "torchvision", "safetensors", "huggingface_hub", *pinned]


def pushed(folder: Path, repository: str) -> str:
    """Put the plugin's weights into a repository of the hub, and let submission.json name them there; the commit."""
    from comparisons.brainscore.weight_files import push

    about = json.loads((folder / SUBMISSION).read_text(encoding="utf-8"))
    files = sorted((folder / "weights").glob("*.safetensors"))
    if not files:
        raise ConfigError("There are no weights to push: all of them are at their library or on the hub already.")
    commit = push(repository, {f"{folder.name}/{path.name}": path for path in files})
    for entry in [about["network"], *about["dictionaries"].values()]:
        own = entry.get("weights")
        if own is not None and own.get("repository") is None:
            own.update(repository=repository, revision=commit, path=f"{folder.name}/{Path(own['path']).name}")
    write_submission(folder, about)
    shutil.rmtree(folder / "weights")
    readme = (folder / "README.md").read_text(encoding="utf-8")
    from comparisons.brainscore.card import weights_table

    start, end = readme.index("<!-- weights -->"), readme.index("<!-- /weights -->")
    text = readme[:start] + weights_table(about) + readme[end + len("<!-- /weights -->") :]
    (folder / "README.md").write_text(text, encoding="utf-8")
    return commit


def sha256_entry(path: Path) -> dict[str, Any]:
    """The entry of submission.json for a file of weights that goes with the plugin."""
    return {"path": f"weights/{path.name}", "sha256": file_sha256(path), "repository": None, "revision": None}
