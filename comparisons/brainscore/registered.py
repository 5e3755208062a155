"""Brain-Score's registered benchmarks: which there are, loaded through its own registry, and what they show.

Their data come from Brain-Score's storage when a benchmark is first loaded; what of it is openly accessible only the
storage knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.brainscore import check_registered, load_registered, registered
from bridge.errors import ConfigError, InputError
from bridge.stimuli.base import StimulusSpec
from comparisons.brainscore.known import key_of

if TYPE_CHECKING:
    from bridge.stimuli.stimulus_set import StimulusSet

PUBLIC = (
    "FreemanZiemba2013public.V1-pls",
    "FreemanZiemba2013public.V2-pls",
    "MajajHong2015public.V4-pls",
    "MajajHong2015public.IT-pls",
    "MajajHong2015public.V4-temporal-pls",
    "MajajHong2015public.IT-temporal-pls",
    "MajajHong2015public.V4-reverse_pls",
    "MajajHong2015public.IT-reverse_pls",
)
"""Benchmarks that Brain-Score calls public by name."""
AREAS = ("V1", "V2", "V4", "IT")
_PROPERTIES = ("Marques2020_blank", "Marques2020_receptive_field", "Marques2020_orientation")
"""What `PropertiesBenchmark` shows besides its own stimuli: to find receptive fields and the range of rates."""


def names() -> list[str]:
    """The identifiers that the installed Brain-Score registers, sorted."""
    return list(registered("benchmark"))


def family(identifier: str) -> str:
    """What benchmarks of the same images usually share: the identifier up to the region or the property.

    >>> family("MajajHong2015public.IT-pls"), family("Marques2020_DeValois1982-pref_or")
    ('MajajHong2015public', 'Marques2020_DeValois1982')
    """
    head, dot, tail = identifier.rpartition(".")
    return head if dot and tail.startswith(AREAS) else identifier.partition("-")[0]


def metric_of(identifier: str) -> str:
    """What a benchmark's name says besides study and region.

    >>> metric_of("MajajHong2015public.V4-temporal-pls"), metric_of("Marques2020_DeValois1982-pref_or")
    ('temporal-pls', 'pref_or')
    """
    tail = identifier.removeprefix(family(identifier))
    return (tail.partition("-")[2] if tail.startswith(".") else tail.lstrip("-")) or identifier


def compares_features(identifier: str) -> bool:
    """Whether a benchmark's name says that it compares features with recordings: by maps, RDMs, CKA or tuning."""
    metrics = ("pls", "ridge", "ridgecv", "rdm", "cka", "mask", "pearson")
    return identifier.split("-")[-1].split("_")[-1] in metrics or identifier.startswith("Marques2020")


def load(identifier: str) -> Any:
    """A benchmark by its own registry; its data are fetched where they are not cached.

    Raises ConfigError for an unknown identifier or a benchmark of another kind than features can be scored on,
    InputError for data that do not match their hash, UnreachableError when they have to be fetched and cannot be.
    """
    check_registered("benchmark", identifier)
    benchmark = load_registered("benchmark", identifier)
    if not assemblies(benchmark):
        raise ConfigError(
            f"Brain-Score's {identifier!r} is a {type(benchmark).__name__}, which does not compare features with "
            "recordings but asks for behaviour, or builds its own stimuli; name a neural benchmark."
        )
    return benchmark


def assemblies(benchmark: Any) -> list[Any]:
    """The recordings that a benchmark holds, each an assembly with a stimulus set; of several in one, all."""
    found = [
        getattr(benchmark, name)
        for name in ("_assembly", "train_assembly", "test_assembly")
        if getattr(benchmark, name, None) is not None
    ]
    for inner in getattr(benchmark, "_sessions", ()):
        found += assemblies(inner)
    return [one for one in found if _stimulus_set(one) is not None]


def stimulus_sets(benchmark: Any) -> Iterator[tuple[Any, float | None]]:
    """(stimulus set, width in degrees where the benchmark states it) of all that a benchmark shows."""
    width = getattr(benchmark, "_visual_degrees", None)
    inner = getattr(benchmark, "_sessions", ())
    if inner:
        for one in inner:
            yield from stimulus_sets(one)
        return
    for assembly in assemblies(benchmark):
        yield _stimulus_set(assembly), float(width) if isinstance(width, int | float) else None
    if shows_properties(benchmark):
        for name in _PROPERTIES:
            yield load_registered("stimulus_set", name), None


def shows_properties(benchmark: Any) -> bool:
    """Whether a benchmark compares tuning properties of units (Marques et al. 2021), not responses."""
    from brainscore_vision.benchmark_helpers.properties_common import PropertiesBenchmark

    return isinstance(benchmark, PropertiesBenchmark)


def _stimulus_set(assembly: Any) -> Any:
    try:
        return assembly.stimulus_set
    except AttributeError:
        return None


class ShownStimuli(StimulusSpec):
    """All that some registered benchmarks show, once each, as a model of a certain width sees it."""

    kind: Literal["shown by brain-score"] = "shown by brain-score"
    benchmarks: tuple[str, ...]
    """Identifiers."""
    degrees: float | None = None
    """Width of the model's field in degrees; None leaves images as they are."""

    def fingerprint(self) -> dict[str, Any]:
        """The identifiers and Brain-Score's version, which declares the hashes of the images. Nothing is fetched."""
        return {**super().fingerprint(), "brainscore_vision": version("brainscore-vision")}

    def here(self) -> bool:
        """Whether files of all the benchmarks' studies were fetched before."""
        from bridge.brainscore import benchmarks_not_kept

        return not benchmarks_not_kept(self.benchmarks)

    def load(self) -> StimulusSet:
        """The images, their ids `SET/ID`; those of another width than the model's on grey, or cut, by Brain-Score's
        `place_on_screen`.

        Raises as `load`, and InputError for images that cannot be read.
        """
        from bridge.stimuli.brainscore import from_brainscore
        from bridge.stimuli.stimulus_set import StimulusSet, joined

        parts: dict[str, StimulusSet] = {}
        for name in self.benchmarks:
            for stimuli, width in stimulus_sets(load(name)):
                identifier = str(stimuli.identifier)
                if identifier in parts:
                    continue
                keys = [key_of(stimuli, one) for one in stimuli["stimulus_id"]]
                found = from_brainscore(placed(stimuli, width, self.degrees), identifier)
                table = found.table.set_axis(keys, axis=0)
                table.index.name = "stimulus_id"
                parts[identifier] = StimulusSet(identifier, table[[]], found.source, self.degrees or width)
        sets = list(parts.values())
        return sets[0] if len(sets) == 1 else joined(self.name, sets)


def placed(stimuli: Any, width: float | None, degrees: float | None) -> Any:
    """A stimulus set as a model of `degrees` sees it, images `width` wide; as it is where either is not stated."""
    from brainscore_vision.benchmark_helpers.screen import place_on_screen

    from comparisons.brainscore.theirs import undisturbed

    stated = "degrees" in stimuli
    if stated:  # the benchmark will place them by itself, on 8 degrees unless told otherwise
        degrees = degrees or 8.0
    elif degrees is None or width is None:
        return stimuli
    where = {"target_visual_degrees": degrees, "source_visual_degrees": None if stated else width}
    with undisturbed():
        found = place_on_screen(stimuli, **where)
        if all(Path(path).is_file() for path in found.stimulus_paths.values()):
            return found
        with undisturbed("brainscore_vision.benchmark_helpers.screen"):  # it kept the names of images that are gone
            return place_on_screen(stimuli, **where)


def checked_disjoint(shown: StimulusSet, others: StimulusSet) -> None:
    """Raise InputError where an image of `others` is one of `shown`, by its pixels: what is chosen on the images that
    it is judged on is no evidence."""
    import hashlib

    def hashes(stimuli: StimulusSet) -> list[str]:
        images = (stimuli.image(row) for row in range(len(stimuli)))
        return [hashlib.sha256(image.tobytes() + str(image.shape).encode()).hexdigest() for image in images]

    mine = set(hashes(shown))
    same = [row for row, sha in enumerate(hashes(others)) if sha in mine]
    if same:
        raise InputError(
            f"{len(same)} of {len(others)} images of {others.name!r}, on which features would be chosen, are among "
            f"those of the benchmark (the first: {others.ids[same[0]]!r}); choose on other images (`selection`)."
        )
