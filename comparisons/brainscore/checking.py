"""`ventral brain-score check`: all that Brain-Score's automatic tests run on a plugin, and what they do not look at.

1. The rules that need no run (`comparisons.brainscore.rules`).
2. In a clean environment (`comparisons.brainscore.environments`), the plugin among Brain-Score's models: the five
   generic model tests (with the images that the wheel lacks), and the plugin's own.
3. There, too (`check_runner.py`): features of drawn images, for one vector an image, no vector of zeros (the metric
   `rdm` is NaN with one), enough rank for 25 PLS components, no dependence on the batch; memory and time.
4. With recordings: the same score there as here.

Nothing is changed in the plugin. A plugin that passed is remembered by the hash of its files, for `zip`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bridge.errors import InputError
from bridge.store import cache_folder, digest, file_sha256, write_atomically
from comparisons.brainscore import environments, rules
from comparisons.brainscore.feature_findings import features_found, predictions
from comparisons.brainscore.identifiers import identifiers_of
from comparisons.brainscore.rules import OURS, Finding

IMAGES = 64
"""Drawn images that features are looked at for: more than twice the components of PLS."""
IMAGENET = 1000
"""Labels that Brain-Score's tasks take logits for."""
GENERIC = {
    "test_identifier": "the model has a name",
    "test_visual_degrees": "0 < visual degrees < 9000",
    "test_start_task_or_recording": "a task or a recording can be started",
    "test_look_at_neural_V1": "V1 looks at three images",
    "test_look_at_behavior_probabilities": "probabilities of labels",
}


@dataclass
class Checked:
    """What a check found."""

    findings: list[Finding] = field(default_factory=list)
    predicted: list[list[str]] = field(default_factory=list)
    """Rows: identifier, benchmark, features, GiB, minutes."""
    scores: list[list[str]] = field(default_factory=list)
    """Rows: identifier, region, score here, score there, difference."""
    notes: list[str] = field(default_factory=list)
    """What is no fault, and yet should be known."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(one.problem is None for one in self.findings)


def check(
    folder: Path,
    *,
    here: bool = False,
    config: Any = None,
    seconds: int = 1800,
    told: Callable[[str], None] = lambda text: None,
) -> Checked:
    """Check a plugin's directory; see above. `here` runs it in the present environment, `config` names recordings that
    it is scored on, both here and there; `told` hears in a word what is being done.

    Raises InputError for a folder that is no plugin, ConfigError without uv, UnreachableError where Brain-Score cannot
    be fetched.
    """
    found = Checked(rules.examined(folder))
    blocking = {one.name for one in found.findings if one.problem is not None}
    if blocking & {"directory", "identifiers", "weights"}:
        return found
    stated = folder / "requirements.txt"
    python = Path(sys.executable)
    if not here:
        told("Making or finding the clean environment ...")
        python = environments.clean_environment(stated if stated.is_file() else None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        own = environments.overlay(python, folder, place / "site")
        told("Running Brain-Score's tests, the plugin's own, and the measurements ...")
        _ran(found, python, folder, own, place, here, config, seconds)
    if found.passed:
        write_atomically(_record(folder), json.dumps({"folder": folder.name, "here": here}))
    return found


def content_digest(folder: Path) -> str:
    """A hash of all files of a plugin."""
    return digest({path.relative_to(folder).as_posix(): file_sha256(path) for path in rules.files_of(folder)})


def has_passed(folder: Path) -> str | None:
    """Where a plugin with just these files passed a check before: `clean` or `here`; None where it did not."""
    try:
        return "here" if json.loads(_record(folder).read_bytes())["here"] else "clean"
    except (OSError, ValueError, KeyError):
        return None


def _record(folder: Path) -> Path:
    return cache_folder() / "brainscore-checks" / f"{content_digest(folder)}.json"


# ----------------------------------------------------------------------------------------------------- running


def _run(python: Path, arguments: list[str], place: Path, seconds: int) -> subprocess.CompletedProcess[str]:
    """A program in the environment, with the overlay's Brain-Score first on its path and no cache of results."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(place / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BS_INSTALL_DEPENDENCIES": "no",
        "RESULTCACHING_DISABLE": "1",
        "RESULTCACHING_HOME": str(place / "results"),
        "MPLBACKEND": "agg",
    }
    environment.pop("VIRTUAL_ENV", None)
    try:
        return subprocess.run(
            [str(python), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd=place,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"The plugin ran for more than {seconds} s without an end; give it more time with --seconds."
        ) from error


def _tests(own: Path, place: Path) -> dict[str, list[str]]:
    """What pytest is called with for the generic tests and the plugin's own, as in `test_plugin.sh`."""
    generic = own.parents[1] / "model_helpers" / "generic_plugin_tests.py"
    runs = {"generic": [str(generic), "--plugin_directory", str(own)]}
    if (own / "test.py").is_file():
        runs["own"] = [str(own / "test.py")]
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--rootdir", str(place)]
    return {name: [*options, f"--junitxml={place / f'{name}.xml'}", *arguments] for name, arguments in runs.items()}


def _tested(found: Checked, answer: Mapping[str, Any], said: str, place: Path) -> None:
    """What the tests found."""
    _generic(found, _cases(place / "generic.xml"), said)
    if (code := answer["tests"].get("own")) is not None:
        wrong = "; ".join(f"{name}: {failure}" for name, failure in _cases(place / "own.xml").items() if failure)
        fine = code in (0, 5)  # 5: there are none
        found.findings.append(Finding("plugin's tests", None if fine else wrong or said, MAILED, "passed"))


MAILED = "the pull request is not merged; the submitter gets an e-mail"


def _generic(found: Checked, cases: Mapping[str, str | None], said: str) -> None:
    if not cases:
        found.findings.append(Finding("generic tests", f"none ran: {said}", MAILED))
        return
    for test, words in GENERIC.items():
        mine = {name: failure for name, failure in cases.items() if name.startswith(f"{test}[")}
        failures = [f"{name}: {failure}" for name, failure in mine.items() if failure]
        problem = "; ".join(failures) or (None if mine else "it did not run: the model is not found by its name")
        found.findings.append(Finding(f"generic: {words}", problem, MAILED, "passed"))


def _cases(report: Path) -> dict[str, str | None]:
    """Tests by name, each with what failed."""
    if not report.is_file():
        return {}
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error")]
        found[case.get("name", "")] = " ".join((wrong[0].get("message") or "failed").split())[:400] if wrong else None
    return found


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr.strip() or done.stdout.strip()).split())[-400:]


# ----------------------------------------------------------------------------------------------------- measuring


def _ran(
    found: Checked, python: Path, folder: Path, own: Path, place: Path, here: bool, config: Any, seconds: int
) -> None:
    """Run tests and measurements on the plugin that stands in the overlay as `own`, and take down what they find."""
    from comparisons.brainscore.verifying import drawn_images

    images = place / "images"
    images.mkdir()
    files = _drawn(drawn_images(IMAGES, 224), images)
    identifiers = identifiers_of(folder)
    asked: dict[str, Any] = {"identifiers": identifiers, "images": files, "batches": [1, 7], "benchmark": None}
    asked |= {"strangers": [] if here else list(OURS), "tests": _tests(own, place)}
    benchmarks: dict[str, Any] = {}
    if config is not None:
        from comparisons.brainscore import scoring_there

        (place / "benchmark").mkdir()
        benchmarks = scoring_there.written(*scoring_there.recordings_of(config), place / "benchmark")
        asked["benchmark"] = str(place / "benchmark")
    runner = place / "check_runner.py"
    shutil.copyfile(Path(__file__).with_name("check_runner.py"), runner)
    (place / "asked.json").write_text(json.dumps(asked))
    answers = place / "answers.json"
    done = _run(python, ["-P", str(runner), str(place / "asked.json"), str(answers)], place, seconds)
    answer = json.loads(answers.read_text()) if answers.is_file() else {"tests": {}, "models": {}, "strangers": []}
    _tested(found, answer, _last(done), place)
    if missing := [name for name in identifiers if name not in answer["models"]]:
        said = f"{', '.join(missing)}: {_last(done) or 'no answer'}"
        found.findings.append(Finding("features", said, "scoring stops, with an e-mail"))
    if not here:
        strangers = ", ".join(answer["strangers"])
        problem = f"{strangers} can be imported there" if strangers else None
        found.findings.append(Finding("clean environment", problem, "what works here fails there", "only requirements"))
    for identifier, one in answer["models"].items():
        found.findings += features_found(identifier, one)
        if "error" not in one:
            found.predicted += predictions(identifier, one)
            if one["logits"] != IMAGENET:
                found.notes.append(
                    f"{identifier} gives {one['logits']} logits: behavioural benchmarks that ask for one of ImageNet's "
                    f"{IMAGENET} labels will fail."
                )
    if benchmarks:
        _compared(found, folder, identifiers, benchmarks, answer["models"])


def _drawn(stimuli: Any, folder: Path) -> list[str]:
    """Images as PNG files; their paths."""
    from PIL import Image

    files = []
    for row in range(len(stimuli)):
        path = folder / f"{row}.png"
        Image.fromarray(stimuli.image(row)).save(path)
        files.append(str(path))
    return files


def _compared(
    found: Checked, folder: Path, identifiers: list[str], benchmarks: Mapping[str, Any], answers: Mapping[str, Any]
) -> None:
    """Scores on the recordings, here and there."""
    from comparisons.brainscore.scoring_there import SAME, scores_here

    able = [name for name in identifiers if "scores" in answers[name]]
    here = scores_here(folder, able, dict(benchmarks))
    for identifier in able:
        wrong = []
        for region, score in here[identifier].items():
            there = answers[identifier]["scores"][region]["score"]
            difference = abs(score - there)
            found.scores.append([identifier, region, f"{score:.6f}", f"{there:.6f}", f"{difference:.1g}"])
            if not difference <= SAME and not (score != score and there != there):
                wrong.append(f"{region} scores {score:.6f} here and {there:.6f} there")
        otherwise = "the leaderboard shows another score than was found here"
        found.findings.append(Finding(f"{identifier}: same score there as here", "; ".join(wrong) or None, otherwise))
