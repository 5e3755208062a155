"""A user's own recordings in a table: parquet, csv or tsv, long or wide, with a small YAML that names its columns.

    # responses.yaml, beside responses.parquet
    stimulus_id: image          # the column that names the stimulus
    neuroid_id: unit
    region: area
    subject: monkey
    value: spikes
    repetition: presentation    # optional, as are layer, session, trial_id and time_bin: [start, end]
    constants: {session: "210325"}

A long table has a row for each value. A wide one (`form: wide`) has a row for each trial and a column for each
neuroid, and a second table says what the neuroids are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from bridge.errors import ConfigError, InputError, did_you_mean, where_and_why
from bridge.not_yaml import NOT_YAML
from bridge.recordings.base import RecordingsSpec
from bridge.recordings.selection import aligned, of_regions
from bridge.spec import Spec
from bridge.spec_errors import validated

if TYPE_CHECKING:
    from bridge.recordings.recordings import Recordings, RegionRDMs
    from bridge.stimuli.stimulus_set import StimulusSet


class TableDescription(Spec):
    """Which column of a table is what: the content of the YAML file."""

    form: Literal["long", "wide"] = "long"
    """`long`: a row a value; `wide`: a row a trial and a column a neuroid."""
    stimulus_id: str = "stimulus_id"
    """Column of the stimulus ids: the same ids as those of the stimuli."""
    neuroid_id: str = "neuroid_id"
    """Column of the neuroid ids (long form), or that of the table of neuroids (wide form)."""
    region: str = "region"
    """Column of the regions (V1, V2, V4, IT, ...)."""
    subject: str = "subject"
    """Column of the subjects."""
    value: str = "value"
    """Column of the responses (long form): counts or rates."""
    repetition: str | None = None
    """Column that numbers the presentations of a stimulus; without it their order in the table does."""
    trial_id: str | None = None
    """Column that names the trial, by the same name for all neuroids recorded in it. Without it no two neuroids are
    taken as recorded at the same moment."""
    layer: str | None = None
    """Column of the cortical layer; empty where it is not known."""
    session: str | None = None
    """Column of the recording session."""
    time_bin: tuple[str, str] | None = None
    """Columns of start and end of the time bin, in ms from stimulus onset (long form)."""
    neuroids: Path | None = None
    """Table of the neuroids (wide form), beside the YAML file: a row a neuroid, its ids the names of columns."""
    constants: dict[str, str] = Field(default_factory=dict)
    """What is the same everywhere and has no column: {region: V4, subject: monkey A}."""
    images: bool = True
    """False where the images are not at hand: the recordings are then for variability alone."""
    citation: str = ""
    """How to cite the recordings."""

    @model_validator(mode="after")
    def _fits(self) -> TableDescription:
        allowed = ("region", "subject", "layer", "session")
        for key in self.constants:
            if key not in allowed:
                raise ValueError(f"constants has {key!r}; {did_you_mean(key, allowed)}")
        if self.form == "wide" and self.neuroids is None:
            raise ValueError("a wide table needs `neuroids`, a table that says what its columns are")
        if self.form == "wide" and self.time_bin is not None:
            raise ValueError("a wide table has no place for time bins; give a long one")
        return self

    def columns(self, *keys: str) -> dict[str, str]:
        """The columns of those keys that are given and not constant, by key."""
        named = {key: getattr(self, key) for key in keys}
        return {key: column for key, column in named.items() if column is not None and key not in self.constants}


class TableRecordings(RecordingsSpec):
    """Your own recordings, in a table beside a small YAML file that names its columns."""

    kind: Literal["table"] = "table"
    path: Path
    """The table: a .parquet, .csv or .tsv file."""
    description: Path | None = None
    """The YAML file that names the table's columns; by default the table's name ending in .yaml."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these regions; all where left out. A region that is not in the table is reported as missing."""

    def described(self) -> TableDescription:
        """The content of the YAML file. Raises InputError where it is missing, ConfigError where it does not fit."""
        import yaml

        path = (self.description or self.path.with_suffix(".yaml")).expanduser()
        if not self.path.expanduser().exists():
            raise InputError(f"There is no table {self.path}; give a .parquet, .csv or .tsv file.")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (*NOT_YAML, OSError) as error:
            raise InputError(
                f"The description {path} of table {self.path} cannot be read{where_and_why(error)}; write one that "
                "names the columns, such as `region: area`."
            ) from error
        if content is not None and not isinstance(content, dict):
            raise ConfigError(f"{path} holds {type(content).__name__}; expected a table of settings.")
        try:
            found: TableDescription = validated(TableDescription, content or {})
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        return found

    def fingerprint(self) -> dict[str, Any]:
        """The spec without its paths, the description, and the hashes of the tables. Raises what `described` raises."""
        from bridge.stimuli.images import content_sha256

        described = self.described()
        content = {key: value for key, value in self.content().items() if key not in ("path", "description")}
        files = [content_sha256(self.path.expanduser())]
        if described.neuroids is not None:
            files.append(content_sha256(self._beside(described.neuroids)))
        about = {key: value for key, value in described.content().items() if key != "neuroids"}
        return {**content, "description": about, "sha256": files}

    def images(self) -> bool:
        """What the description says."""
        return self.described().images

    def load(self, stimuli: StimulusSet) -> list[Recordings | RegionRDMs]:
        """The recordings, brought to the ids of `stimuli`; one a subject where trials are named.

        Raises InputError for a table that is not what the description says: missing columns, values that are no
        numbers, a trial that stands twice, ids that no stimulus has.
        """
        from bridge.recordings.table_reading import long, wide

        described = self.described()
        path = self.path.expanduser()
        if described.form == "wide":
            assert described.neuroids is not None
            found = wide(path, self._beside(described.neuroids), described, self.name)
        else:
            found = long(path, described, self.name)
        return aligned(of_regions(found, self.regions, f"The table {path}"), stimuli)

    def _beside(self, path: Path) -> Path:
        return (self.description or self.path).expanduser().parent / path
