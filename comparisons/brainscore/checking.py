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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bridge.errors import InputError
from bridge.store import cache_folder, digest, file_sha256, write_atomically
from comparisons.brainscore import environments, rules
from comparisons.brainscore.choosing import COMPONENTS
from comparisons.brainscore.rules import OURS, Finding

IMAGES = 64
"""Drawn images that features are looked at for: more than twice the components of PLS."""
ALIKE = 1e-3
"""A feature may differ with its batch by this share of the layer's largest: rounding of another order of sums."""
CONTAINER = 29 * 2**30
"""Memory of the machine that scores, bytes."""
PLS_FACTOR = 7
"""Brain-Score's own estimate of PLS: so many times the features in float32 (`benchmark_helpers.memory`)."""
PUBLIC: tuple[tuple[str, str, int, int], ...] = (
    ("FreemanZiemba2013public.V1-pls", "V1", 135, PLS_FACTOR),
    ("FreemanZiemba2013public.V2-pls", "V2", 135, PLS_FACTOR),
    ("MajajHong2015public.V4-pls", "V4", 3200, PLS_FACTOR),
    ("MajajHong2015public.IT-pls", "IT", 3200, PLS_FACTOR),
    ("Marques2020 (V1 properties)", "V1", 9096, 1),
)
"""Public benchmarks: name, region, images, and how many times the features are held."""
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

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return all(one.problem is None for one in self.findings)


def check(folder: Path, *, here: bool = False, config: Any = None, seconds: int = 1800) -> Checked:
    """Check a plugin's directory; see above. `here` runs it in the present environment, `config` names recordings that
    it is scored on, both here and there.

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
        python = environments.clean_environment(stated if stated.is_file() else None)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        own = environments.overlay(python, folder, place / "site")
        _tested(found, python, own, place, seconds)
        _measured(found, python, folder, place, here, config, seconds)
    if found.passed:
        write_atomically(_record(folder), json.dumps({"folder": folder.name, "here": here}))
    return found


def content_digest(folder: Path) -> str:
    """A hash of all files of a plugin."""
    return digest({path.relative_to(folder).as_posix(): file_sha256(path) for path in rules.files_of(folder)})


def has_passed(folder: Path) -> bool:
    """Whether a plugin with just these files passed a check before."""
    return _record(folder).is_file()


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


def _tested(found: Checked, python: Path, own: Path, place: Path, seconds: int) -> None:
    """The generic tests and the plugin's own, as `test_plugin.sh` runs them."""
    generic = own.parents[1] / "model_helpers" / "generic_plugin_tests.py"
    runs = {"generic": [str(generic), "--plugin_directory", str(own)]}
    if (own / "test.py").is_file():
        runs["own"] = [str(own / "test.py")]
    for name, arguments in runs.items():
        report = place / f"{name}.xml"
        options = ["-p", "no:cacheprovider", "-m", "not slow", "--rootdir", str(place), f"--junitxml={report}"]
        done = _run(python, ["-m", "pytest", "-q", *options, *arguments], place, seconds)
        if name == "generic":
            _generic(found, done, report)
        else:
            fine = done.returncode in (0, 5)  # 5: there are none
            problem = None if fine else f"{_failures(report) or _last(done)}"
            found.findings.append(
                Finding(
                    "plugin's tests", problem, "the pull request is not merged; the submitter gets an e-mail", "passed"
                )
            )


def _generic(found: Checked, done: subprocess.CompletedProcess[str], report: Path) -> None:
    cases = _cases(report)
    if not cases:
        found.findings.append(
            Finding("generic tests", _last(done) or "none ran", "the model would be tested by nothing")
        )
    for test, words in GENERIC.items():
        mine = {name: failure for name, failure in cases.items() if name.startswith(f"{test}[")}
        if cases and not mine:
            found.findings.append(Finding(f"generic: {words}", "it did not run", "the model is not found by its name"))
        elif mine:
            failures = [f"{name}: {failure}" for name, failure in mine.items() if failure]
            otherwise = "the pull request is not merged; the submitter gets an e-mail"
            found.findings.append(Finding(f"generic: {words}", "; ".join(failures) or None, otherwise, "passed"))


def _cases(report: Path) -> dict[str, str | None]:
    """Tests by name, each with what failed."""
    if not report.is_file():
        return {}
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error")]
        found[case.get("name", "")] = " ".join((wrong[0].get("message") or "failed").split())[:400] if wrong else None
    return found


def _failures(report: Path) -> str:
    return "; ".join(f"{name}: {failure}" for name, failure in _cases(report).items() if failure)


def _last(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr.strip() or done.stdout.strip()).split())[-400:]


# ----------------------------------------------------------------------------------------------------- measuring


def _measured(found: Checked, python: Path, folder: Path, place: Path, here: bool, config: Any, seconds: int) -> None:
    from comparisons.brainscore.verifying import drawn_images

    images = place / "images"
    images.mkdir()
    files = _drawn(drawn_images(IMAGES, 224), images)
    identifiers = rules.identifiers_of(folder)
    asked: dict[str, Any] = {"identifiers": identifiers, "images": files, "batches": [1, 7], "benchmark": None}
    asked["strangers"] = [] if here else list(OURS)
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
    done = _run(python, [str(runner), str(place / "asked.json"), str(answers)], place, seconds)
    if not answers.is_file():
        found.findings.append(Finding("features", _last(done) or "no answer", "scoring stops, with an e-mail"))
        return
    answer = json.loads(answers.read_text())
    if not here:
        problem = f"{', '.join(answer['strangers'])} can be imported there" if answer["strangers"] else None
        found.findings.append(Finding("clean environment", problem, "what works here fails there", "only requirements"))
    for identifier, one in answer["models"].items():
        found.findings += features_found(identifier, one)
        if "error" not in one:
            found.predicted += predictions(identifier, one)
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


def features_found(identifier: str, one: Mapping[str, Any]) -> list[Finding]:
    """What is to be said of a model's features."""
    if "error" in one:
        return [Finding(f"{identifier}: features", one["error"], "scoring stops with this error, told by an e-mail")]
    shapes, zero, rank, batch, finite = [], [], [], [], []
    worst, lowest = 0.0, None
    for layer, about in one["layers"].items():
        if len(about["shape"]) != 2:
            per_image = "x".join(map(str, about["shape"][1:]))
            shapes.append(f"{layer} gives {per_image} values an image, not one vector; pool it")
        if not about["finite"]:
            finite.append(f"{layer} gives NaN or infinite values")
        if about["zero"]:
            zero.append(f"{layer} is all zero for {len(about['zero'])} of {about['shape'][0]} images")
        if about["rank"] < COMPONENTS:
            rank.append(
                f"{layer} has rank {about['rank']} over {about['shape'][0]} images ({about['shape'][1]} features)"
            )
        for how, difference in about["differences"].items():
            worst = max(worst, difference)
            if not difference <= ALIKE:
                batch.append(f"{layer} differs by {difference:.2g} of its largest feature when images are {how}")
        lowest = about["rank"] if lowest is None else min(lowest, about["rank"])
    made = [
        ("one vector an image", shapes, "the merge with the classifier fails, or memory runs out without a word"),
        ("finite features", finite, "scores are NaN, shown as missing"),
        ("no vector of zeros", zero, "the metric rdm is NaN, and the benchmark stays empty with no error"),
        (f"rank of {COMPONENTS} or more", rank, "PLS stops or predicts from fewer components, unseen"),
        (
            "independent of the batch",
            batch,
            "scores depend on the order of images and on the padding of the last batch",
        ),
    ]
    said = {f"rank of {COMPONENTS} or more": f"{lowest}", "independent of the batch": f"largest difference {worst:.1g}"}
    findings = [
        Finding(f"{identifier}: {name}", "; ".join(problems) or None, otherwise, said.get(name, ""))
        for name, problems, otherwise in made
    ]
    worst_case = [row for row in predictions(identifier, one) if float(row[3]) * 2**30 > CONTAINER]
    problem = "; ".join(f"{row[1]} takes {row[3]} GiB" for row in worst_case) or None
    otherwise = "the scoring process is killed, and the benchmark stays empty"
    said_of = f"{one['memory'] / 2**30:.1f} GiB for the model"
    findings.append(Finding(f"{identifier}: memory below {CONTAINER >> 30} GiB", problem, otherwise, said_of))
    return findings


def predictions(identifier: str, one: Mapping[str, Any]) -> list[list[str]]:
    """Memory and time of the public benchmarks: features x images x 4 B x the metric's factor, beside the model; the
    time of reading features, measured here for one image."""
    rows = []
    for benchmark, region, images, factor in PUBLIC:
        layer = one["regions"].get(region)
        if layer not in one["layers"]:
            continue
        shape = one["layers"][layer]["shape"]
        features = 1
        for size in shape[1:]:
            features *= size
        memory = one["memory"] + images * features * 4 * factor
        minutes = images * one["seconds_an_image"] / 60
        rows.append([identifier, benchmark, str(features), f"{memory / 2**30:.2f}", f"{minutes:.1f}"])
    return rows


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
