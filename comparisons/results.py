"""What a comparison says: estimates with their evidence, and verdicts with their reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from rsatoolbox.rdm import RDMs


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Result(_Record):
    """One number with what is needed to judge it. Absent evidence is None, never an invented value."""

    comparison: str
    """Kind of comparison: `rsa`, ..."""
    measure: str
    """What the estimate is: `spearman`, `corr`, ..."""
    model: str
    """Name of the model in the config, or of a reference (`pixels`, `monkey-IT`)."""
    site: str | None
    """Site of the stream; None for references that have none."""
    dictionary: str | None = None
    """Name of the dictionary whose codes were compared; None for the stream itself."""
    depth: float | None = None
    """Share of blocks behind the site, 0 to 1."""
    role: Literal["trained", "untrained", "control", "reference"] = "trained"
    """How figures and tables set the model apart."""
    recordings: str
    """Name of the recordings."""
    region: str
    """Region of the brain."""
    estimate: float
    """Mean over subjects (or the only subject)."""
    interval: tuple[float, float] | None = None
    """95% interval; None where it cannot be computed."""
    ceiling: tuple[float, float] | None = None
    """Lower and upper noise ceiling; None where it cannot be computed (a single subject)."""
    p: float | None = None
    """Two-sided p against zero."""
    n_stimuli: int
    n_subjects: int
    n_draws: int = 0
    """Bootstrap draws behind the interval."""
    seed: int | None = None
    simulated: bool = False
    """Whether the recordings are simulated: shown as SIMULATED everywhere."""
    dropped: tuple[str, ...] = ()
    """What was left out and why, in words."""
    notes: tuple[str, ...] = ()
    """What a reader must know about this number (method, a missing ceiling and why)."""
    artefacts: tuple[str, ...] = ()
    """Keys of the artefacts it was computed from."""


class Dictionary(_Record):
    """A sparse dictionary that a run trained or loaded, and how well it stands for the stream that it is of."""

    name: str
    """Name in the config, with `.N` behind it for further seeds."""
    model: str
    reads: tuple[str, ...]
    """The site that it is of; several for a crosscoder, whose codes are named after the last."""
    writes: str | None = None
    """The site that a transcoder predicts."""
    architecture: str
    """How it was trained (`topk`, `batchtopk`, ...), or what it is where that is not known."""
    source: str | None = None
    """Where it was loaded from, with the commit; None if the run trained it."""
    latents: int
    k: int | None = None
    """Active latents a token that it was made for; None where that is not part of its kind."""
    l0: float | None = None
    """Mean number of active latents a token: on held-out stimuli, or, if it was loaded, on those compared."""
    unexplained: float | None = None
    """Fraction of variance unexplained on stimuli held out of its training; None where there were none."""
    dead: float | None = None
    """Share of latents that are active at no token of these stimuli."""
    explained: float | None = None
    """Share of variance explained of the stimuli compared; None where its codes were not compared."""
    seed_stability: float | None = None
    """Mean cosine of its decoder directions with those of the first seed, assigned one to one."""
    warnings: tuple[str, ...] = ()
    """What its training warned of."""
    artefacts: tuple[str, ...] = ()
    """Keys of the artefacts that hold it and its codes."""


class Verdict(_Record):
    """An answer to one prediction for one network or one data set."""

    prediction: str
    subject: str
    """The network or recordings that the verdict is about."""
    answer: Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT TESTABLE"]
    reasons: tuple[str, ...]
    numbers: dict[str, float] = Field(default_factory=dict)
    simulated: bool = False


class FeatureOf(_Record):
    """Which feature a card is of, and by what it is found among others."""

    model: str
    site: str
    """The site, or SITE/NAME for a dictionary's latent."""
    depth: float
    number: int
    simplicity: float | None = None
    """Gabor simplicity; None where it was not measured."""
    facts: tuple[tuple[str, str], ...] = ()
    """Name and value of what else is said of it."""


class Exhibit(_Record):
    """A picture of its own kind: of a prediction, drawn when the run is written, or one that a stage drew itself."""

    group: str
    """The heading under which it stands, with all others of the same."""
    part: str = ""
    """A part of the group that can be opened and closed; empty where there are no parts."""
    caption: str
    words: str
    """What is to be seen, for those who do not see it."""
    file: str
    """PNG: in a stage's artefact its name, in a run's results its path from the run's folder."""
    drawing: str = ""
    """The same as SVG, which the page shows in its own colours; empty where there is none."""
    feature: FeatureOf | None = None
    """The feature that it is a card of."""
    simulated: bool = False


class ConfusionRow(_Record):
    """How often a rule gave each answer where the truth is known. SIMULATED by nature."""

    cell: str
    """The truth that the data sets share."""
    statistic: str
    """What the rule stands on: `phi`, `D`, `transport`, ..."""
    expected: str
    """What a valid rule answers there; see `comparisons.validation.spec.Expected`."""
    datasets: int
    supported: int
    refuted: int
    inconclusive: int
    not_testable: int
    false_rate: tuple[float, float] | None = None
    """Wilson's 95% interval of the rate of the false answer; None where none is false."""
    power: tuple[float, float] | None = None
    """Wilson's 95% interval of the rate of the right answer, where it must be found."""
    met: bool | None = None
    """Whether the rates are what is asked for; None where nothing is."""


class BenchmarkScore(_Record):
    """A site's score on one of Brain-Score's benchmarks, by its own classes and by this project's encoding."""

    benchmark: str
    """Its identifier."""
    metric: str
    recordings: str
    region: str
    model: str
    role: Literal["trained", "untrained", "control", "reference"] = "trained"
    site: str
    dictionary: str | None = None
    depth: float | None = None
    features: int
    """How many the site has, after pooling or choice."""
    n_stimuli: int
    n_neuroids: int
    form: str
    """How the benchmark divides the raw score by its ceiling: `r^2/c`, `r/c`, ..."""
    score: float | None = None
    """What the benchmark itself gives; None where Brain-Score's classes were not run."""
    r: float | None = None
    """Its raw score: median r over neuroids, mean over splits; Spearman correlation of RDMs."""
    error: float | None = None
    """Standard error of r over splits, as Brain-Score states it."""
    ceiling: float | None = None
    """Its ceiling c; None where there is none or its classes were not run."""
    seconds: float | None = None
    """What its classes took for this site, the ceiling apart."""
    fast_r: float | None = None
    """The raw score by this project's encoding; None where it does not know the benchmark's metric."""
    fast_ceiling: float | None = None
    fast_seconds: float | None = None
    predicted_gib: float
    """Memory that scoring the largest of the model's sites takes, predicted before anything was scored."""
    difference: float | None = None
    """r - fast_r."""
    largest_difference: float | None = None
    """The largest absolute difference of a neuroid's r in a split."""
    r2_over_c: float | None = None
    """r^2/c, Brain-Score's normalisation since December 2025: of Brain-Score's numbers, else of the fast ones."""
    r_over_c_squared: float | None = None
    """(r/c)^2, the one before."""
    own: bool = False
    """Whether it was made of recordings of the config; a registered one has no name but its own."""
    simulated: bool = False
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    citation: str = ""
    artefacts: tuple[str, ...] = ()


class RunResults(_Record):
    """All that a run leaves in results.json."""

    name: str
    title: str
    question: str
    """What the run asks, as the config states it."""
    config: dict[str, Any]
    provenance: dict[str, Any]
    """Versions, platform, content hashes, data sets with licence and citation, and the command that repeats it."""
    results: tuple[Result, ...]
    verdicts: tuple[Verdict, ...] = ()
    dictionaries: tuple[Dictionary, ...] = ()
    """Sparse dictionaries of the models' streams."""
    exhibits: tuple[Exhibit, ...] = ()
    """Pictures that comparisons drew themselves, in the order of the report."""
    confusion: tuple[ConfusionRow, ...] = ()
    """The confusion matrix of the verdicts, where the run validates them."""
    benchmarks: tuple[BenchmarkScore, ...] = ()
    """Scores on Brain-Score's benchmarks, by both sides."""
    dropped: tuple[str, ...] = ()
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds a stage took when it was computed (not when it was reused)."""
    files: dict[str, str] = Field(default_factory=dict)
    """sha256 of the report and the figures that stand beside results.json."""

    def table(self) -> pd.DataFrame:
        """Every number as a row; see `comparisons.tabular.numbers`."""
        from comparisons.tabular import numbers

        return numbers(self)

    def verdict_table(self) -> pd.DataFrame:
        """Every verdict as a row; see `comparisons.tabular.verdicts`."""
        from comparisons.tabular import verdicts

        return verdicts(self)

    def grid(self, measure: str) -> xr.DataArray:
        """One measure, [model, site, region]; see `comparisons.tabular.grid`, whose errors it raises."""
        from comparisons.tabular import grid

        return grid(self, measure)

    def rdms(self, store: Path | None = None) -> RDMs:
        """The sites' RDMs as rsatoolbox's; see `comparisons.tabular.rdms`, whose errors it raises."""
        from comparisons.tabular import rdms

        return rdms(self, store)

    def __repr__(self) -> str:
        """A line: the whole is long, and `model_dump` gives it."""
        return f"<run {self.name!r}: {len(self.results)} numbers, {len(self.verdicts)} verdicts>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from comparisons.tabular import as_html

        return as_html(self)
