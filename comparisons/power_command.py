"""`ventral power`: what effect a config's data sets could show, before their responses are compared with anything."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from comparisons.command_parts import ConfigArgument, JsonOption, SetOption, print_json


def power(
    config: ConfigArgument,
    set_: SetOption = None,
    datasets: Annotated[int, typer.Option(min=2, help="Simulated data sets for each share.")] = 20,
    lambdas: Annotated[
        list[float] | None,
        typer.Option("--lambda", min=0, max=0.5, help="Simple share of the last region (default: 0 .05 .1 .2 .3)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how often the rules of P1, P2 and P3 would find what is true in data of this size and reliability.

    All of it is SIMULATED.
    """
    from bridge.errors import ConfigError, InputError
    from bridge.recordings.recordings import Recordings
    from bridge.recordings.simulated import seen
    from comparisons import config as configs
    from comparisons.editing.recorded import early_and_late
    from comparisons.responses import comparable
    from comparisons.validation import power as estimate
    from comparisons.validation.spec import PREDICTIONS

    parsed = configs.load(config, set_ or [])
    specs, _ = comparable(parsed, "ventral power")
    stimuli = parsed.stimuli.load()
    told: list[dict[str, Any]] = []

    def say(text: str) -> None:
        if not as_json:
            print(text)

    for spec in specs:
        for one in spec.load(stimuli):
            if not isinstance(one, Recordings):
                why = "only RDMs are public; what they could show is not simulated"
                say(f"{one.name}: {why}.")
                told.append({"recordings": one.name, "untestable": why})
                continue
            try:
                shown = stimuli.select(stimuli.rows_of(one.stimulus_ids))
                eyes = seen(shown, max(2, min(24, len(shown) // 8)))
                scaled = estimate.scaled(one, eyes)
            except InputError as error:
                say(f"{one.name}: NOT TESTABLE. {error}")
                told.append({"recordings": one.name, "untestable": str(error)})
                continue
            sizes = ", ".join(f"{region} {count}" for region, count in scaled.neuroids.items())
            say(
                f"{one.name}: {len(shown)} stimuli, {scaled.reps} repetitions, {sizes}; median reliability "
                f"{estimate.reliability(one.data):.2f}. SIMULATED data of this size:"
            )
            found = estimate.power(
                scaled,
                eyes,
                shown.table,
                lambdas=lambdas or estimate.LAMBDAS,
                timed=early_and_late(one) is not None,
                datasets=datasets,
                seed=parsed.seed,
            )
            for row in found.rows:
                low, high = row.rate
                name = f"{PREDICTIONS[row.statistic]} {row.statistic}"
                say(f"  {name:14}  {row.truth:28}  {row.wanted} in {low:.0%} to {high:.0%}")
                told.append({"recordings": one.name, **vars(row)})
            for statistic, why in found.untestable.items():
                say(f"  {PREDICTIONS[statistic]} {statistic}: NOT TESTABLE, {why}.")
                told.append({"recordings": one.name, "statistic": statistic, "untestable": why})
    if not told and not specs:
        raise ConfigError("recordings: hold nothing whose power could be told.")
    if as_json:
        print_json(told)
