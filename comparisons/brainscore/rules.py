"""What Brain-Score's submission system asks of a plugin's directory, as far as it can be told without running it.

Its automatic steps, of which these rules are the cheap part (brainscore-core 2.5.0, brainscore-vision 2.4.2):

1. The zip is unpacked; its one visible top-level entry is the submission (`submission.repository`).
2. Identifiers are found by a text search: in `models/DIR/__init__.py`, each line that holds `model_registry[`, from the
   first to the last bracket, without the first and last character (`parse_plugin_changes.get_plugin_ids`). A model is
   then looked for as `model_registry['ID']` in the lines of all plugins, and must be in exactly one directory
   (`import_plugin.ImportPlugin.locate_plugin`).
3. The pull request is merged without a person only if all of its files are a plugin's, none is metadata.y(a)ml
   (`parse_plugin_changes`), and all tests pass.
4. `test*.py` must stand in the directory, and none below it; environment.yml must name no environment and no other
   Python than 3.11 (`test_plugins.PluginTestRunner.validate_plugin`, `parse_plugin_changes.get_test_file_paths`).
5. In an environment of its own, Brain-Score with its test requirements is installed, then environment.yml, setup.py and
   requirements.txt (`test_plugin.sh`).
6. For each identifier the five tests of `model_helpers/generic_plugin_tests.py`: identifier, 0 < visual degrees < 9000,
   a task or a recording can be started, V1 looks at three images (ids, dimensions), probabilities of labels.
7. The plugin's own tests; none at all is allowed.
8. Once merged, the model is scored on every benchmark; what fails there is told to nobody but by an e-mail.

`ventral brain-score check` runs 4 to 7 (`comparisons.brainscore.checking`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import InputError
from bridge.store import file_sha256
from comparisons.brainscore.identifiers import identifier_problems, identifiers_of
from comparisons.brainscore.submission import REGIONS

ZIP_BYTES = 50_000_000
"""The most that the website takes."""
OURS = ("bridge", "saes", "probes", "comparisons", "sae_lens", "transformer_lens")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".th")
LEFT_OUT = ("__pycache__", ".pytest_cache")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `problem` is None where all is well; `otherwise` is what Brain-Score would have
    done with the problem, and to whom it would have said so; `said` is what was measured."""

    name: str
    problem: str | None = None
    otherwise: str = ""
    said: str = ""


def files_of(folder: Path) -> list[Path]:
    """The files that belong to a plugin, sorted: no caches, nothing hidden."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") or p in LEFT_OUT for p in path.relative_to(folder).parts)
    )


def examined(folder: Path) -> list[Finding]:
    """All rules, on a plugin's directory. Raises InputError for a folder that is no plugin."""
    identifiers_of(folder)
    return [
        Finding(name, "; ".join(problems) or None, otherwise)
        for rule, name, otherwise in RULES
        for problems in [list(rule(folder))]
    ]


# ----------------------------------------------------------------------------------------------------- the rules


def _directory(folder: Path) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]*", folder.resolve().name):
        yield f"the directory {folder.resolve().name!r} is no Python package's name; rename it (letters, digits and _)"


def _tests(folder: Path) -> Iterator[str]:
    if not any(re.match(r"test.*\.py", path.name) for path in folder.iterdir()):
        yield "there is no test.py; write one, if only for the layers"
    for path in folder.rglob("test*.py"):
        if path.parent != folder and not any(part in LEFT_OUT for part in path.parts):
            yield f"{path.relative_to(folder)} is a test below the directory; move it up"


def _environment(folder: Path) -> Iterator[str]:
    import yaml

    if not (folder / "requirements.txt").is_file() and not (folder / "setup.py").is_file():
        yield "there is neither requirements.txt nor setup.py"
    path = folder / "environment.yml"
    if path.is_file():
        text = yaml.dump(yaml.safe_load(path.read_text(encoding="utf-8")))
        if "name" in text:
            yield "environment.yml names the environment; leave `name` out"
        if any("python=" in line and "python=3.11" not in line for line in text.splitlines()):
            yield "environment.yml asks for another Python than 3.11"
    stated = (folder / "requirements.txt").read_text("utf-8") if (folder / "requirements.txt").is_file() else ""
    for line in stated.splitlines():
        name = re.split(r"[\s\[<>=!~;@]", line.strip().lower().replace("_", "-"), maxsplit=1)[0]
        if name in ("ventral-bridge", "sae-lens", "transformer-lens"):
            yield f"requirements.txt asks for {name}, which Brain-Score's environment cannot hold"


def _functions(folder: Path) -> Iterator[str]:
    path = folder / "model.py"
    if not path.is_file():
        yield "there is no model.py"
        return
    defined = {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}
    if missing := [name for name in ("get_model", "get_layers", "get_bibtex") if name not in defined]:
        yield f"model.py defines no {', '.join(missing)}"


def _regions(folder: Path) -> Iterator[str]:
    about = submission_in(folder)
    for name in identifiers_of(folder):
        path = folder / "region_layer_map" / f"{name}.json"
        try:
            layers = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            yield f"region_layer_map/{name}.json is missing"
            continue
        except ValueError as error:
            yield f"region_layer_map/{name}.json is no JSON ({error})"
            continue
        if missing := [region for region in REGIONS if not layers.get(region)]:
            yield f"region_layer_map/{name}.json has no layer for {', '.join(missing)}"
        known = [f"stream.{site}" for site in about["models"][name]["features"]] if name in about["models"] else None
        for region, layer in layers.items():
            if known is not None and layer not in known:
                yield f"{name}: {region} is mapped to {layer!r}, which is none of its layers ({', '.join(known)})"


def _weights(folder: Path) -> Iterator[str]:
    about = submission_in(folder)
    entries = [about.get("network", {}).get("weights")]
    entries += [own["weights"] for own in about.get("dictionaries", {}).values()]
    for entry in entries:
        if entry is None:
            continue
        if entry.get("repository") is not None:
            if not re.fullmatch(r"[0-9a-f]{40}", str(entry["revision"])):
                yield (
                    f"{entry['path']} of {entry['repository']} is of revision {entry['revision']!r}, which may change; "
                    "name a commit (40 hex digits)"
                )
            continue
        path = folder / entry["path"]
        if not path.is_file():
            yield f"{entry['path']} is missing"
        elif file_sha256(path) != entry["sha256"]:
            yield f"{entry['path']} is not the file that was exported (its sha256 differs)"
    source = about.get("network", {}).get("pretrained") or {}
    if "repository" in source and not re.fullmatch(r"[0-9a-f]{40}", str(source.get("revision"))):
        yield f"the network's weights are of revision {source.get('revision')!r}, which may change; name a commit"


def _code(folder: Path) -> Iterator[str]:
    for path in files_of(folder):
        where = path.relative_to(folder)
        if path.suffix in PICKLES:
            yield f"{where} may be a pickle, which runs code when it is read; give safetensors"
        if path.suffix != ".py":
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            yield f"{where} is no Python ({error})"
            continue
        for name in sorted(_imports(tree)):
            if name in OURS:
                yield f"{where} imports {name}, which Brain-Score's machines do not have"
            elif name in ("pickle", "dill", "joblib", "cloudpickle"):
                yield f"{where} imports {name}: nothing that was fetched may be unpickled"
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) in ("torch.load", "torch.hub.load_state_dict_from_url"):
                safe = any(
                    key.arg == "weights_only" and getattr(key.value, "value", 0) is True for key in call.keywords
                )
                if not safe:
                    yield f"{where} line {call.lineno} calls {ast.unparse(call.func)} without weights_only=True"


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def _metadata(folder: Path) -> Iterator[str]:
    paths = [folder / name for name in ("metadata.yaml", "metadata.yml") if (folder / name).is_file()]
    if len(paths) == 2:
        yield "metadata.yaml and metadata.yml are both there; keep one"
    for path in paths:
        from brainscore_core.metadata import load

        try:
            load(path.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{path.name} is not valid ({error})"


def _size(folder: Path) -> Iterator[str]:
    from comparisons.brainscore.packing import packed

    size = len(packed(folder))
    if size > ZIP_BYTES:
        yield f"the zip takes {size / 1e6:.1f} MB, and the website takes 50 MB; put the weights on the hub (--push)"


def submission_in(folder: Path) -> dict[str, Any]:
    """submission.json; of a plugin that was not made here, one without models or weights. Raises InputError for a
    damaged one."""
    path = folder / "submission.json"
    if not path.is_file():
        return {"models": {}, "dictionaries": {}, "network": {}}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); export the plugin again.") from error


RULES: tuple[tuple[Callable[[Path], Iterator[str]], str, str], ...] = (
    (_directory, "directory", "the plugin could not be imported, so that every test fails"),
    (
        identifier_problems,
        "identifiers",
        "the model would be tested and scored under another name, or not at all, with no error",
    ),
    (_tests, "test files", "the tests would stop at an assertion before any of them ran"),
    (_environment, "environment", "the environment could not be made, and the model would not be scored"),
    (_functions, "model.py", "the model could not be made, or would have no citation"),
    (
        _regions,
        "region map",
        "benchmarks of a region without a layer fail one by one with a KeyError, and leave gaps on the leaderboard; "
        "without a map, layers are chosen anew on public benchmarks",
    ),
    (_weights, "weights", "the model would be scored with other weights than were studied, or fail to load, unseen"),
    (_code, "code", "the import fails in the container, where this project is not installed"),
    (_metadata, "metadata", "the pull request waits for a person, and its page stays empty"),
    (_size, "size", "the website refuses the upload"),
)
