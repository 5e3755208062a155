"""Recordings of TVSD: V1, V4 and IT of a macaque at once, from normalised averages or from single trials."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from bridge.recordings.base import RecordingsSpec, TimeWindow
from bridge.recordings.selection import aligned, missing_regions, of_regions

if TYPE_CHECKING:
    import numpy as np

    from bridge.data.tvsd import Monkey
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet

Share = Annotated[float, Field(ge=-1, lt=1)]


class TVSDRecordings(RecordingsSpec):
    """V1, V4 and IT of two macaques, all electrodes at once (Papale et al. 2025); its stimuli are `kind: tvsd`."""

    kind: Literal["tvsd"] = "tvsd"
    name: str = "TVSD"
    """The name under which the recordings appear; the monkey's letter is added."""
    folder: Path | None = None
    """A folder that holds monkeyF and monkeyN as the source has them; by default `tvsd` in VENTRAL_DATA, else the
    cache, to which averages are fetched (trials are not: lay them there)."""
    monkeys: Annotated[tuple[Literal["F", "N"], ...], Field(min_length=1)] = ("F", "N")
    """Which of the two; each becomes recordings of its own."""
    split: Literal["test", "train"] = "test"
    """`test`: 100 images, shown 30 times; `train`: 22,248 images, shown once."""
    source: Literal["averages", "trials"] = "averages"
    """`averages`: the normalised file, in the authors' windows; `trials`: the file of single trials, read in blocks,
    in windows and time bins of your choice."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these regions; all where left out. V2 was not recorded."""
    reliability: Share = 0.3
    """Electrodes whose mean correlation between repetitions is lower are left out and counted."""
    windows: dict[Literal["V1", "V4", "IT"], TimeWindow] = Field(default_factory=dict)
    """Trials: [start, end] in ms by region, where it shall not be the authors' (V1 25-125, V4 50-150, IT 75-175)."""
    time_bins: tuple[TimeWindow, ...] = ()
    """Trials: further windows of all regions, such as [[70, 100], [150, 200]]."""
    normalise: Literal["day", "none"] = "day"
    """Trials: by mean and standard deviation of each day's test trials, as the authors do, or not at all. Without it
    what drifts from day to day looks like variability that areas share."""
    block_megabytes: int = Field(256, ge=1)
    """Trials: how much is in memory at a time, besides the responses themselves."""
    images_list: Path | None = None
    """A `things_imgs.mat`; by default that of the folder, else the copy that Brain-Score brings."""

    @model_validator(mode="after")
    def _fits(self) -> TVSDRecordings:
        if self.source == "averages" and (self.windows or self.time_bins):
            raise ValueError("the averages have the authors' windows; give `source: trials` for others")
        return self

    def datasets(self) -> tuple[str, ...]:
        """This one."""
        return ("tvsd",)

    def keys(self) -> list[str]:
        """The keys of the data set's files that are read."""
        kinds = ("averages",) if self.source == "averages" else ("trials", "mapping")
        return [f"{kind}_{monkey}" for monkey in self.monkeys for kind in kinds]

    def fingerprint(self) -> dict[str, Any]:
        """The spec without its paths, and what the files hold: their source declares no hashes, so those of the files
        that are here are recorded; None for a file that has to be fetched first (`prepare`).
        """
        from bridge.data.fetching import identity

        left_out = ("folder", "images_list", "block_megabytes")
        content = {key: value for key, value in self.content().items() if key not in left_out}
        places = {key: self._found(key) for key in self.keys()}
        return {
            **content,
            "files": {key: None if path is None else identity(path) for key, path in places.items()},
            "images": identity(self._list_file()),
        }

    def prepare(self) -> None:
        """Fetch what is not here. Raises UnreachableError when it cannot be fetched, and for trials not laid down."""
        for key in self.keys():
            self._file(key)

    def check_reachable(self) -> None:
        """Raise UnreachableError unless the files are here or their source answers."""
        from bridge.data import dataset
        from bridge.data.fetching import check_address

        data = dataset("tvsd")
        for key in self.keys():
            if self._found(key) is not None:
                continue
            entry = data.entry(key)
            if entry.by_hand or self.folder is not None:
                self._file(key)
            assert entry.address is not None
            place = f"or set VENTRAL_DATA to a folder that holds {entry.path}"
            check_address(entry.address, f"TVSD's {Path(entry.path).name}", place)

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """One `Recordings` a monkey, of those of its stimuli that are among `stimuli`. All electrodes share trials.

        Raises InputError for files that are not what they should be, and where no electrode is reliable enough;
        UnreachableError when they have to be fetched and cannot be.
        """
        found = [self._read(monkey, stimuli) for monkey in self.monkeys]
        return aligned(of_regions(found, self.regions, "TVSD"), stimuli)

    def _read(self, monkey: Monkey, stimuli: StimulusSet) -> Recordings:
        from bridge.data.tvsd import area_of
        from bridge.data.tvsd.images import ids_of, shown

        ids = ids_of(shown(self._list_file(), self.split))
        if self.source == "averages":
            from bridge.data.tvsd.averages import read_averages

            responses = read_averages(self._file(f"averages_{monkey}"), self.split, len(area_of(monkey)))
            return self._recordings(monkey, responses.data, ids, responses)
        from bridge.data.tvsd.assembled import assemble

        wanted = set(stimuli.ids)
        rows = [row for row, name in enumerate(ids) if name in wanted] or list(range(len(ids)))
        made = assemble(self, monkey, rows, self._file(f"trials_{monkey}"), self._file(f"mapping_{monkey}"))
        beside = self._found(f"averages_{monkey}")
        if beside is not None and self.split == "test" and not self.windows:
            made.check_against(beside, rows)
        return self._recordings(
            monkey,
            made.data,
            tuple(ids[row] for row in rows),
            made.responses,
            trial_ids=made.trial_ids,
            time_bins=tuple((float(start), float(end)) for start, end in self.time_bins),
            binned=made.binned,
            dropped=made.dropped,
        )

    def _recordings(
        self,
        monkey: Monkey,
        data: np.ndarray,
        ids: tuple[str, ...],
        known: Any,
        dropped: tuple[str, ...] = (),
        **more: Any,
    ) -> Recordings:
        """The electrodes that are reliable enough, and in words how many are not."""
        import numpy as np
        import pandas as pd

        from bridge.data import dataset
        from bridge.data.tvsd import area_of
        from bridge.errors import InputError
        from bridge.recordings.recordings import Recordings

        areas = area_of(monkey)
        if data.shape[1] != len(ids):
            raise InputError(
                f"The responses of monkey {monkey} are to {data.shape[1]} {self.split} images and the list names "
                f"{len(ids)}; give the list that belongs to them."
            )
        neuroids = pd.DataFrame(
            {
                "neuroid_id": [f"tvsd-{monkey}-{number:04d}" for number in range(1, len(areas) + 1)],
                "region": areas,
                "subject": f"monkey {monkey}",
                "electrode": np.arange(1, len(areas) + 1),
                "reliability": known.reliability,
                "noise_variance": known.noise_variance,
            }
        )
        keep = known.reliability >= self.reliability  # false where it is undefined: a dead electrode
        if not keep.any():
            raise InputError(
                f"No electrode of monkey {monkey} has a reliability of {self.reliability:g} or more (the highest: "
                f"{np.nanmax(known.reliability, initial=-1):.2f}); lower `reliability`, or check the files."
            )
        gone, total = Counter(neuroids["region"][~keep]), Counter(areas)
        each = ", ".join(f"{area} {gone[area]} of {total[area]}" for area in total)
        notes = (f"{(~keep).sum()} of {len(keep)} electrodes with a reliability below {self.reliability:g} ({each})",)
        missing = tuple(f"{area}: not in these recordings" for area in missing_regions(total))
        everything = Recordings(
            name=f"{self.name} {monkey}",
            data=data,
            stimulus_ids=ids,
            neuroids=neuroids,
            simultaneous=True,
            citation=dataset("tvsd").citation,
            dropped=(*(notes if gone else ()), *missing, *dropped),
            **more,
        )
        return everything.select(neuroids=keep)

    def _list_file(self) -> Path:
        from bridge.data.tvsd.images import list_file

        return self.images_list.expanduser() if self.images_list else list_file(self.folder)

    def _found(self, key: str) -> Path | None:
        """Where a file lies, None where it does not."""
        from bridge.data import dataset

        data = dataset("tvsd")
        if self.folder is None:
            return data.found(key)
        path = self.folder.expanduser() / data.entry(key).path.removeprefix("tvsd/")
        return path if path.is_file() else None

    def _file(self, key: str) -> Path:
        """A file, fetched where it is not here and no folder is named."""
        from bridge.data import dataset
        from bridge.errors import InputError

        if self.folder is None:
            return dataset("tvsd").file(key)
        if (path := self._found(key)) is None:
            entry = dataset("tvsd").entry(key)
            raise InputError(
                f"The folder {self.folder} holds no {entry.path.removeprefix('tvsd/')}; put there what lies at "
                f"{entry.address}, or leave `folder` out."
            )
        return path
