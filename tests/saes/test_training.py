"""Training as a whole: several dictionaries in one pass, interruptions, checkpoints, errors, warnings, schedules."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import planted

from bridge.errors import ConfigError, InputError, StorageError
from saes.sae import SparseAutoencoder
from saes.settings import Training
from saes.sources import ArrayTokens
from saes.training import CHECKPOINT, Job, Point, Report, Trained, Watch, train

KINDS = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")
STEPS = 40  # of 1,000 tokens in batches of 200, 8 epochs
ROOT = Path(__file__).resolve().parents[2]


def settings(kind: str = "topk", **more: Any) -> Training:
    of_kind = {name: more.pop(name) for name in ("k", "l1", "levels") if name in more}
    return Training(architecture={"kind": kind, "latents": 32, **of_kind}, **{"batch": 200, **more})


def job(kind: str = "topk", name: str = "site", site: str = "x", **more: Any) -> Job:
    return Job(name, (site,), settings(kind, **more))


def tokens(n: int = 1000, seed: int = 3) -> ArrayTokens:
    data = planted(n=n, d=8, s=12, seed=seed)
    return ArrayTokens({"x": data.x, "y": data.codes})


def assert_equal(one: SparseAutoencoder, other: SparseAutoencoder) -> None:
    assert one.tensors().keys() == other.tensors().keys()
    for name, value in one.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


class Killed(Exception):
    pass


def killer(step: int) -> Any:
    def progress(report: Report) -> None:
        if report.step == step:
            raise Killed

    return progress


def steps_of(source: ArrayTokens) -> list[tuple[int, int]]:
    """Where (epoch, start) the source is asked to begin; the list grows as it is used."""
    asked: list[tuple[int, int]] = []
    batches = source.batches

    def counted(batch: int, seed: int, epoch: int = 0, start: int = 0) -> Any:
        asked.append((epoch, start))
        return batches(batch, seed, epoch, start)

    source.batches = counted  # type: ignore[method-assign]
    return asked


# ----------------------------------------------------------------------------------------------- several in one pass


def test_several_in_one_pass_equal_each_alone() -> None:
    """Sites, seeds and architectures together; alone they are given the same order of tokens, which is the first's."""

    class OneOrder(ArrayTokens):
        def batches(self, batch: int, seed: int, epoch: int = 0, start: int = 0) -> Any:
            return super().batches(batch, 0, epoch, start)

    source = OneOrder(tokens().arrays)
    few: Any = {"tokens": 2000}
    jobs = [job(**few), job(name="second seed", seed=1, **few), job("batchtopk", name="other", **few)]
    jobs += [job("relu", name="y", site="y", **few), Job("joint", ("x", "y"), settings(**few))]
    jobs += [Job("across", ("x",), settings("jumprelu", **few), writes="y", skip=True)]
    together = train(jobs, source)
    assert list(together) == [one.name for one in jobs]
    for one in jobs:
        assert_equal(train([one], source)[one.name].sae, together[one.name].sae)
    assert not torch.equal(together["site"].sae.W_enc, together["second seed"].sae.W_enc)


def test_the_same_twice() -> None:
    first, second = (train([job("matryoshka")], tokens())["site"] for _ in range(2))
    assert_equal(first.sae, second.sae)
    assert [point.fvu for point in first.history] == [point.fvu for point in second.history]


def test_history_and_metadata() -> None:
    reports: list[Report] = []
    found = train([job()], tokens(), metadata={"model_name": "net"}, progress=reports.append)["site"]
    assert [point.step for point in found.history] == list(range(1, STEPS + 1))
    assert [report.step for report in reports] == list(range(1, STEPS + 1))
    assert all(report.steps == STEPS and report.tokens_per_second > 0 for report in reports)
    assert found.history[-1].fvu < found.history[0].fvu
    assert all(point.tokens == 200 and point.l0 <= 2 for point in found.history)
    about = found.sae.config.metadata
    assert about["model_name"] == "net"
    assert about["hook_name"] == found.sae.site == "x"
    assert about["trained_as"] == "topk"
    assert about["training_tokens"] == 8000
    assert Training.model_validate(about["training"]) == settings()


@pytest.mark.parametrize("kind", KINDS)
def test_reported_fvu_is_that_of_the_dictionary(kind: str) -> None:
    """With a learning rate of next to 0 the reported share is that of the finished dictionary."""
    source = tokens(2000)
    found = train([job(kind, lr=1e-12, epochs=1)], source)["site"]
    x = source.arrays["x"].double()
    error = (x - found.sae(source.arrays["x"]).double()).square().sum() / (x - x.mean(0)).square().sum()
    assert sum(p.fvu for p in found.history) / len(found.history) == pytest.approx(float(error), rel=0.02)


# ---------------------------------------------------------------------------------------------- interrupt and resume


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_goes_on_to_the_same_tensors(kind: str, tmp_path: Path) -> None:
    whole = train([job(kind)], tokens())["site"]
    with pytest.raises(Killed):
        train([job(kind)], tokens(), folder=tmp_path, progress=killer(23), checkpoint_seconds=0)
    source = tokens()
    asked = steps_of(source)
    resumed = train([job(kind)], source, folder=tmp_path, checkpoint_seconds=1e9)["site"]
    assert (4, 2) in asked  # step 22: the progress was told of step 23 before its checkpoint was written
    assert asked[0] == (0, 0)  # the sample for the scales, of which the checkpoint's are used
    assert sum(epoch < 4 for epoch, _ in asked) <= 2  # nor are earlier batches read, but for that and the calibration
    assert_equal(resumed.sae, whole.sae)
    assert [point.fvu for point in resumed.history] == [point.fvu for point in whole.history]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train([job("batchtopk")], tokens(), folder=tmp_path)["site"]
    told: list[Report] = []
    again = train([job("batchtopk")], tokens(), folder=tmp_path, progress=told.append)["site"]
    assert told == []
    assert_equal(first.sae, again.sae)
    assert again.history == first.history
    assert again.seconds > 0.5 * first.seconds  # those before are counted


def test_several_dictionaries_resume_together(tmp_path: Path) -> None:
    jobs = [job(), job("gated", name="second"), Job("joint", ("x", "y"), settings()), job("relu", "y", "y")]
    jobs.append(Job("across", ("x",), settings("relu"), writes="y", skip=True))
    whole = train(jobs, tokens())
    with pytest.raises(Killed):
        train(jobs, tokens(), folder=tmp_path, progress=killer(13), checkpoint_seconds=0)
    for name, found in train(jobs, tokens(), folder=tmp_path).items():
        assert_equal(found.sae, whole[name].sae)


PROGRAM = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from test_training import job, tokens
from saes.training import train
train([job("batchtopk")], tokens(), folder=Path(sys.argv[1]), checkpoint_seconds=0, progress=lambda _: time.sleep(0.05))
"""


def test_a_training_that_is_killed_from_outside(tmp_path: Path) -> None:
    """SIGKILL in the midst of it, and again: what is found is a whole checkpoint each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        paths = [str(ROOT), str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)]
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), *paths])
        deadline = time.monotonic() + 60
        while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        told: list[Report] = []
        resumed = train([job("batchtopk")], tokens(), folder=tmp_path, progress=told.append)["site"]
        assert 1 < told[0].step <= STEPS
        assert_equal(resumed.sae, train([job("batchtopk")], tokens())["site"].sae)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_checkpoint_is_not_used(share: float, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train([job()], tokens(), folder=tmp_path, progress=killer(10), checkpoint_seconds=0)
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: int(share * len(content))])
    told: list[Report] = []
    found = train([job()], tokens(), folder=tmp_path, progress=told.append)["site"]
    assert told[0].step == 1
    assert_equal(found.sae, train([job()], tokens())["site"].sae)


@pytest.mark.parametrize(
    ("other", "n"),
    [
        (job(k=3), 1000),
        (job(seed=1), 1000),
        (job(lr=1e-4), 1000),
        (job("relu"), 1000),
        (job(name="b"), 1000),
        (job(), 999),
    ],
)
def test_a_checkpoint_of_another_plan_is_not_used(other: Job, n: int, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train([job()], tokens(), folder=tmp_path, progress=killer(10), checkpoint_seconds=0)
    told: list[Report] = []
    train([other], tokens(n), folder=tmp_path, progress=told.append)
    assert told[0].step == 1


def test_a_checkpoint_of_another_width_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train([job()], tokens(), folder=tmp_path, progress=killer(10), checkpoint_seconds=0)
    wider = ArrayTokens({"x": planted(n=1000, d=9, s=12).x})
    assert train([job()], wider, folder=tmp_path)["site"].sae.d_in == 9


@pytest.mark.parametrize("where", ["save_file", "replace", "fsync"])
def test_a_full_disk_leaves_the_checkpoint_before(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        train([job()], tokens(), folder=tmp_path, progress=killer(10), checkpoint_seconds=0)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr({"save_file": "safetensors.torch.save_file"}.get(where, f"os.{where}"), full)
        with pytest.raises(StorageError, match="No space left on device") as raised:
            train([job()], tokens(), folder=tmp_path, checkpoint_seconds=0)
    assert str(tmp_path) in str(raised.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    told: list[Report] = []
    resumed = train([job()], tokens(), folder=tmp_path, progress=told.append)["site"]
    assert told[0].step == 10
    assert_equal(resumed.sae, train([job()], tokens())["site"].sae)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[Report] = []
    with pytest.raises(StorageError, match="Cannot write to"):
        train([job()], tokens(), folder=tmp_path / "file" / "run", progress=told.append)
    assert told == []  # said before any work


# ------------------------------------------------------------------------------------------------- broken activations


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_tokens_stop_before_the_step_and_mended_ones_go_on(value: float, tmp_path: Path) -> None:
    """No dictionary steps, not even those whose own site is sound: all resume at the same batch."""
    jobs = [job(sample=200), job("relu", "y", "y", sample=200)]
    jobs.append(Job("across", ("y",), settings("batchtopk", sample=200), writes="x"))
    sound = tokens()
    order = torch.cat([batch["x"][:, 0] for batch in sound.batches(200, 0)])
    at = int((sound.arrays["x"][:, 0] == order[650]).nonzero())  # in the fourth batch of the first epoch
    broken = ArrayTokens({name: array.clone() for name, array in sound.arrays.items()})
    broken.arrays["y"][at, 3] = value
    with pytest.raises(
        InputError, match=r"1 of 200 tokens of y hold NaN or infinite values \(step 3\); mend"
    ) as raised:
        train(jobs, broken, folder=tmp_path, checkpoint_seconds=1e9)
    assert "\n" not in str(raised.value)
    told: list[Report] = []
    resumed = train(jobs, sound, folder=tmp_path, progress=told.append)
    assert told[0].step == 4
    for name, whole in train(jobs, sound).items():
        assert_equal(resumed[name].sae, whole.sae)


@pytest.mark.parametrize("scale", ["variance", "none"])
def test_broken_tokens_in_the_sample(scale: str, tmp_path: Path) -> None:
    source = tokens()
    source.arrays["x"][17] = float("nan")
    with pytest.raises(InputError, match=r"NaN or infinite values stand among site; mend or leave out"):
        train([job(scale=scale)], source, folder=tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("scale", ["variance", "none"])
def test_constant_activations(scale: str) -> None:
    source = ArrayTokens({"x": torch.full((300, 4), 0.1)})
    with pytest.raises(InputError, match=r"nothing to learn: site do not vary \(300 tokens looked at\)"):
        train([job(scale=scale)], source)


def test_one_token_is_too_few() -> None:
    with pytest.raises(InputError, match="nothing to learn"):
        train([job()], ArrayTokens({"x": torch.ones(1, 4)}))


def test_constant_dimensions_are_harmless() -> None:
    x = tokens().arrays["x"].clone()
    x[:, 2] = 5.0
    found = train([job()], ArrayTokens({"x": x}))["site"].sae
    assert abs(float(found(x)[:, 2].mean()) - 5.0) < 0.3
    assert float((x - found(x)).square().sum() / (x - x.mean(0)).square().sum()) < 0.7


def test_a_learning_rate_that_diverges_is_named() -> None:
    with pytest.raises(ConfigError, match=r"loss of site is not finite at step \d+ though its tokens are; lower the"):
        train([job("relu", lr=1e20, warm_up=0)], tokens())


# ------------------------------------------------------------------------------------------------- jobs that do not fit


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([], "no dictionary to train"),
        ([job(k=33)], "k is 33 and the dictionary has 32 latents"),
        ([job(site="blocks")], "'blocks' is not among the tokens' sites; allowed: x, y"),
        ([job(), job()], r"Two dictionaries have the same name \(site, site\)"),
        ([job(), job(name="b", batch=100)], r"site and b differ in `batch` \(200, 100\)"),
        ([job(), job(name="b", epochs=3)], r"differ in `epochs` \(8, 3.0\)"),
        ([job(), job(name="b", tokens=300)], r"differ in `tokens` \(None, 300\)"),
        ([job(), job(name="b", sample=30)], r"differ in `sample` \(32768, 30\)"),
        ([Job("t", ("x",), settings(), writes="y")], "no top-k transcoder"),
        ([Job("t", ("x",), settings("gated"), writes="y")], "gated transcoder cannot be stored"),
        ([Job("t", ("x", "y"), settings("relu"), writes="y")], "a transcoder reads one"),
        ([Job("t", ("x",), settings("relu"), writes="x")], "t reads and writes x; leave out `writes`"),
        ([Job("t", ("x",), settings(), skip=True)], "linear skip only where it transcodes"),
    ],
)
def test_jobs_that_do_not_fit(jobs: list[Job], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        train(jobs, tokens())
    assert "\n" not in str(raised.value)


def test_sites_whose_tokens_lie_at_different_places() -> None:
    class TwoGrids(ArrayTokens):
        @property
        def places(self) -> dict[str, int]:
            return {"x": 64, "y": 16}

    source = TwoGrids(tokens().arrays)
    train([job(), job(name="b", site="y")], source)
    for bad in (Job("joint", ("x", "y"), settings()), Job("across", ("x",), settings("relu"), writes="y")):
        with pytest.raises(ConfigError, match=r"x, y lie at different places of a stimulus \(of 64, 16 patches\)"):
            train([bad], source)


def test_bfloat16_where_the_processor_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.activations.has_bfloat16", lambda _: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no bfloat16 arithmetic; train with precision fp32"):
        train([job(precision="bf16")], tokens())


# ------------------------------------------------------------------------------------------------------------ watching


def point(step: int, fvu: float, dead: float = 0.0) -> Point:
    return Point(step, 100, fvu, 4.0, dead)


def test_each_warning_is_said_once() -> None:
    watch = Watch("site")
    assert watch.look(point(1, 0.99, 0.9), 0.1) == []  # too early to say
    (stalled,) = watch.look(point(3, 0.95), 0.3)
    assert stalled == (
        "site leaves 95% of the variance unexplained after 30% of its training; raise k or the learning rate, or lower "
        "the penalty."
    )
    assert watch.look(point(4, 0.96), 0.4) == []
    for step in range(5, 25):  # smoothed, it comes down to .2
        assert watch.look(point(step, 0.2), 0.5) == []
    assert watch.look(point(25, 0.4), 0.6) == []  # one bad point alone
    for _ in range(9):
        watch.look(point(26, 0.2), 0.6)
    said = [text for step in range(27, 37) for text in watch.look(point(step, 0.3), 0.7)]
    assert len(said) == 1
    assert "site's unexplained variance has risen from 0.20" in said[0]
    (dying,) = watch.look(point(40, 0.3, 0.51), 0.7)
    assert dying.startswith("51% of site's latents are dead after 70% of its training")
    assert watch.look(point(41, 0.99, 0.9), 0.8) == []


def test_nothing_is_said_of_a_sound_training() -> None:
    watch = Watch("site")
    for step in range(1, 11):
        assert watch.look(point(step, 0.9 / step, 0.4), step / 10) == []


def test_warnings_reach_the_caller_once_across_an_interruption(tmp_path: Path) -> None:
    hopeless = job("relu", l1=1e4, lr=0.05)
    said: list[str] = []

    def until(step: int) -> Any:
        def progress(report: Report) -> None:
            said.extend(report.warnings)
            if report.step == step:
                raise Killed

        return progress

    with pytest.raises(Killed):
        train([hopeless], tokens(), folder=tmp_path, progress=until(30), checkpoint_seconds=0)
    assert any("unexplained after" in text for text in said)
    found = train([hopeless], tokens(), folder=tmp_path, progress=until(0))["site"]
    kinds = [next(word for word in ("unexplained after", "has risen", "are dead") if word in text) for text in said]
    assert len(kinds) == len(set(kinds))
    assert found.warnings == said


# -------------------------------------------------------------------------------------------------- schedules, defaults


def test_learning_rates() -> None:
    default = Training()
    assert default.learning_rate(2**14) == pytest.approx(2e-4)
    assert default.learning_rate(2**16) == pytest.approx(1e-4)
    assert default.learning_rate(32) == 3e-3  # 4.5e-3 by the rule
    assert settings(lr=0.5).learning_rate(128) == 0.5
    rates = [settings(warm_up=0.1, decay=0.2).rate_at(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([(100 - n) / 20 for n in range(80, 100)])
    assert [settings(warm_up=0, decay=0).rate_at(step, 10) for step in (0, 9)] == [1.0, 1.0]
    assert settings().rate_at(0, 1) == 1.0


def test_steps_and_tokens() -> None:
    assert settings(epochs=8).steps(1000) == 40
    assert settings(epochs=8).steps(1001) == 48  # the last, short batch of an epoch is a step
    assert settings(epochs=0.5).steps(1000) == 2
    assert settings(epochs=0.001).steps(1000) == 1
    assert settings(tokens=1000).steps(10**9) == 5
    assert settings(tokens=1001).steps(10) == 6


def test_when_latents_count_as_dead() -> None:
    """After an epoch, ten million tokens or an eighth of the training, whichever is least."""
    assert settings(epochs=8).dead_tokens(10_000) == 10_000
    assert settings(epochs=80).dead_tokens(10_000) == 10_000
    assert settings(epochs=1).dead_tokens(10_000) == 1250
    assert settings(epochs=100).dead_tokens(50_000_000) == 10_000_000
    assert settings(dead_after=77).dead_tokens(10**6) == 77


def test_training_longer_than_an_epoch_sees_every_token_in_each() -> None:
    source = tokens(450)
    told: list[Report] = []
    train([job(epochs=2)], source, progress=told.append)
    assert [report.points["site"].tokens for report in told] == [200, 200, 50] * 2
    assert isinstance(train([job(tokens=500)], source)["site"], Trained)
