"""`ventral power`: what effect a config's data sets could show, before their responses are compared with anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from comparisons.command_parts import ConfigArgument, SetOption


def power(
    config: ConfigArgument,
    set_: SetOption = None,
    datasets: Annotated[int, typer.Option(min=2, help="Simulated data sets for each share.")] = 20,
    lambdas: Annotated[
        list[float] | None,
        typer.Option("--lambda", min=0, max=0.5, help="Simple share of the last region (default: 0 .05 .1 .2 .3)."),
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Also write the rows to this file.")] = None,
) -> None:
    """Say how often P1's rules would find simple features in data of this size and reliability. All is SIMULATED."""
    from bridge.errors import ConfigError, InputError
    from bridge.recordings.recordings import Recordings
    from bridge.recordings.simulated import seen
    from bridge.store import write_atomically
    from comparisons import config as configs
    from comparisons.responses import comparable
    from comparisons.validation import power as estimate

    parsed = configs.load(config, set_ or [])
    specs, _ = comparable(parsed, "ventral power")
    stimuli = parsed.stimuli.load()
    told: list[dict[str, Any]] = []
    for spec in specs:
        for one in spec.load(stimuli):
            if not isinstance(one, Recordings):
                print(f"{one.name}: only RDMs are public; what they could show is not simulated.")
                continue
            try:
                shown = stimuli.select(stimuli.rows_of(one.stimulus_ids))
                eyes = seen(shown, max(2, min(24, len(shown) // 8)))
                scaled = estimate.scaled(one, eyes)
            except InputError as error:
                print(f"{one.name}: NOT TESTABLE. {error}")
                told.append({"recordings": one.name, "untestable": str(error)})
                continue
            sizes = ", ".join(f"{region} {count}" for region, count in scaled.neuroids.items())
            print(
                f"{one.name}: {len(shown)} stimuli, {scaled.reps} repetitions, {sizes}; median reliability "
                f"{estimate.reliability(one.data):.2f}. SIMULATED data of this size:"
            )
            rows = estimate.power(
                scaled, eyes, shown.table, lambdas=lambdas or estimate.LAMBDAS, datasets=datasets, seed=parsed.seed
            )
            for row in rows:
                answer = "REFUTED" if row.share == 0 else "SUPPORTED"
                low, high = row.rate
                print(f"  P1 by {row.statistic:3}  lambda {row.share:.2f}  {answer} in {low:.0%} to {high:.0%}")
                told.append({"recordings": one.name, **vars(row)})
            if not rows:
                print("  these stimuli cannot be asked: too few without gratings, and no gratings")
    if not told and not specs:
        raise ConfigError("recordings: hold nothing whose power could be told.")
    if json_:
        write_atomically(json_, json.dumps(told, indent=1))
