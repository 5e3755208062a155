"""Several runs side by side: the table of models by data sets, the files, and what is no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bridge.errors import InputError
from comparisons.report.together.matrix import answers, matrices
from comparisons.report.together.output import FORMS, render, write
from comparisons.report.together.reading import read_run, read_runs
from comparisons.results import Result, RunResults, Verdict

SITES = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def one(model: str, site: str, region: str, estimate: float, **about: Any) -> Result:
    content = {
        "comparison": "rsa", "measure": "spearman", "model": model, "site": site, "depth": 0.5, "recordings": "lab",
        "region": region, "estimate": estimate, "interval": (estimate - 0.1, estimate + 0.1), "ceiling": (0.4, 0.6),
        "n_stimuli": 92, "n_subjects": 4, **about,
    }  # fmt: skip
    return Result.model_validate(content)


def made(name: str, results: list[Result], verdicts: tuple[Verdict, ...] = ()) -> RunResults:
    return RunResults(
        name=name,
        title=f"The <{name}>",
        question="?",
        config={},
        provenance={},
        results=tuple(results),
        verdicts=verdicts,
    )


@pytest.fixture
def runs() -> dict[str, RunResults]:
    first = [
        one("net", site, region, value)
        for region in ("V1", "IT")
        for site, value in zip(SITES, (0.1, 0.3), strict=True)
    ]
    second = [
        one("other", SITES[0], "IT", 0.2, ceiling=(0.3, 0.5)),
        one("other", SITES[0], "V4", 0.25, recordings="sim", simulated=True, role="untrained"),
    ]
    verdict = Verdict(prediction="P1 persistence", subject="net", answer="SUPPORTED", reasons=("why",))
    brain = Verdict(prediction="P2 variability", subject="sim", answer="REFUTED", reasons=("so",), simulated=True)
    return {"a": made("a", first, (verdict,)), "b": made("b", second, (brain,))}


def test_each_networks_best_site_stands_in_every_data_sets_column(runs: dict[str, RunResults]) -> None:
    (matrix,) = matrices(runs)
    assert [(column.recordings, column.region) for column in matrix.columns] == [
        ("lab", "V1"),
        ("lab", "IT"),
        ("sim", "V4"),
    ]
    cells = {
        row.model + row.role[0]: [cell and (cell.site, cell.estimate) for cell in row.cells] for row in matrix.rows
    }
    assert cells["nett"] == [(SITES[1], 0.3), (SITES[1], 0.3), None]
    assert cells["othert"] == [None, (SITES[0], 0.2), None]
    assert cells["otheru"] == [None, None, (SITES[0], 0.25)]
    assert matrix.columns[1].ceiling == (0.3, 0.6), "the widest of both runs"
    assert [column.simulated for column in matrix.columns] == [False, False, True]


def test_verdicts_of_all_runs_stand_by_prediction(runs: dict[str, RunResults]) -> None:
    told = answers(runs)
    assert told.predictions == ("P1 persistence", "P2 variability")
    assert told.rows == (("a", "net", False, ("SUPPORTED", "")), ("b", "sim", True, ("", "REFUTED")))


def test_all_forms_are_written(runs: dict[str, RunResults], tmp_path: Path) -> None:
    names = {path.name for path in write(runs, tmp_path / "out", FORMS)}
    assert names == {
        "side_by_side.html", "numbers.csv", "numbers.parquet", "verdicts.csv", "verdicts.parquet",
        "rsa_spearman.png", "rsa_spearman.svg", "rsa_spearman.pdf",
    }  # fmt: skip
    table = pd.read_parquet(tmp_path / "out" / "numbers.parquet")
    assert list(table.run) == ["a"] * 4 + ["b"] * 2
    assert len(pd.read_csv(tmp_path / "out" / "numbers.csv")) == 6
    assert (tmp_path / "out" / "rsa_spearman.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "out" / "side_by_side.html").read_text()
    assert page == render(runs), "equal runs give an equal page"
    assert "The &lt;a&gt;" in page
    assert page.count("<script") == 1  # its own, which the policy names by its hash
    assert "script-src 'sha256-" in page
    assert "://" not in page.replace("http://www.w3.org", "")
    assert page.count("SIMULATED") >= 3
    assert "not asked" in page


def test_runs_of_one_name_are_told_apart(runs: dict[str, RunResults], tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "results.json").write_text(runs["a"].model_dump_json())
    assert list(read_runs([tmp_path / "x", tmp_path / "y"])) == ["a (x)", "a (y)"]
    with pytest.raises(InputError, match="given twice"):
        read_runs([tmp_path / "x", tmp_path / "x"])


def test_what_is_no_run_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        read_run(tmp_path)
    (tmp_path / "results.json").write_text('{"name": 3}')
    with pytest.raises(InputError, match=r"is no results.json of this version"):
        read_run(tmp_path)
