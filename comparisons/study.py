"""What a large study takes: disk, hours and money, from throughput that was measured on some machine.

    python -m comparisons.study [--speed X] [--price EUR_PER_HOUR] [--images N] [--shown N] [--tokens N] [--seeds N]

The measured figures are rows of `benchmarks/` (capture, sae_training, rsa, encoding); what differs from them in size is
scaled by the count of multiplications that dominates each step. `--speed` says how many times faster another machine
does the same benchmark rows. `docs/imagenet_study.md` explains the table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, replace

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class VisionTransformer:
    """The sizes of a ViT that its arithmetic depends on."""

    name: str
    blocks: int
    width: int
    patch: int = 16
    image: int = 224

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.image // self.patch) ** 2 + 1

    @property
    def multiplications(self) -> int:
        """Of one image's forward pass: 12 d^2 for each token and block (attention's four products and the MLP's two of
        fourfold width), 2 tokens d for attention itself, and the patches' embedding. ViT-B/16: 17.6e9."""
        block = self.tokens * 12 * self.width**2 + 2 * self.tokens**2 * self.width
        return self.blocks * block + (self.tokens - 1) * 3 * self.patch**2 * self.width


VIT_B, VIT_L = VisionTransformer("ViT-B/16", 12, 768), VisionTransformer("ViT-L/16", 24, 1024)


@dataclass(frozen=True)
class Measured:
    """Seconds of benchmark rows, with their sizes. The defaults: two cores (x86-64, AVX-512), float32."""

    machine: str = "two cores, float32"
    capture_seconds: float = 9.29
    """`capture.py`, ViT-B/16, every block's resid_post, 16 patches kept, `capture_images` images."""
    capture_images: int = 64
    step_seconds: float = 0.391
    """`sae_training.py`, one TopK step of 4,096 tokens, d 768, 8,192 latents, k 32, with AuxK."""
    rdm_seconds: float = 1.54
    """`rsa.py`, correlation RDM of 3,200 patterns of 10,000 features."""
    bootstrap_seconds: float = 21.2
    """`rsa.py`, dual bootstrap of one RDM of 10,000 stimuli, 1,000 draws."""
    ridge_seconds: float = 4.80
    """`encoding.py`, ridge over 99 penalties, 10 splits: 3,200 stimuli, 8,192 features, 461 neuroids of 4 regions."""


@dataclass(frozen=True)
class Study:
    """What is to be computed."""

    network: VisionTransformer = VIT_L
    sites: int = 24
    images: int = 1_281_167
    """Images that dictionaries are trained on."""
    tokens: int = 16
    """Patches kept of each."""
    dtype: str = "bfloat16"
    """Of activations on disk."""
    latents: int = 8192
    seeds: int = 5
    epochs: int = 5
    shown: int = 10_000
    """Images that recordings exist for (or are chosen of them)."""
    regions: int = 4
    draws: int = 1000
    features: int = 1024
    """Values of a site that encoding reads of an image: the mean token."""

    def check(self) -> None:
        """Raises ValueError for sizes below 1."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{field.name} is {value}; give at least 1")


@dataclass(frozen=True)
class Line:
    """One step of a study: bytes that stay on disk, and hours of the machine."""

    name: str
    bytes: float
    hours: float


def plan(study: Study, measured: Measured, speed: float = 1.0) -> list[Line]:
    """The steps of a study on a machine that is `speed` times as fast as the measured one.

    Capture grows with the network's multiplications; a training step with d x latents; an RDM with n^2 x features; its
    bootstrap with n^2 x draws; ridge with n^2 x (features + n), the products and the decomposition of a Gram matrix.
    Raises ValueError for sizes or a speed that are not positive.
    """
    study.check()
    if speed <= 0:
        raise ValueError(f"speed is {speed}; give a positive number")
    width, number = study.network.width, study.sites * study.seeds
    an_image = measured.capture_seconds / measured.capture_images
    an_image *= study.network.multiplications / VIT_B.multiplications
    token_bytes = study.sites * width * BYTES[study.dtype]
    a_step = measured.step_seconds * (width / 768) * (study.latents / 8192)
    steps = study.epochs * study.images * study.tokens / 4096
    n = study.shown
    compared = study.sites * (1 + study.seeds)  # each site's stream, and its codes of every seed
    rdm = measured.rdm_seconds * (n / 3200) ** 2 * (study.features / 10_000)
    draw = measured.bootstrap_seconds * (n / 10_000) ** 2 * (study.draws / 1000)
    splits = measured.ridge_seconds * (n / 3200) ** 2 * ((study.features + n) / (8192 + 3200))
    lines = [
        Line("capture to train on", study.images * study.tokens * token_bytes, an_image * study.images),
        Line("dictionaries", number * (2 * width * study.latents + width + study.latents) * 4, number * steps * a_step),
        Line("capture of what was shown", n * study.network.tokens * token_bytes, an_image * n),
        Line("RDMs", compared * n * (n - 1) / 2 * 8, compared * rdm),
        Line("RSA", 0, compared * study.regions * draw),
        Line("encoding", 0, compared * splits * study.regions / 4),
    ]
    return [replace(line, hours=line.hours / 3600 / speed) for line in lines]


def table(lines: list[Line], price: float | None = None) -> str:
    """The lines and their sums as a Markdown table; with a `price` of an hour, what they cost."""
    head = ["step", "on disk", "hours", *(["cost"] if price is not None else [])]
    total = Line("**all**", sum(line.bytes for line in lines), sum(line.hours for line in lines))
    rows = [head, ["---", "---:", "---:", *(["---:"] if price is not None else [])]]
    for line in [*lines, total]:
        cost = [f"{line.hours * price:,.0f}"] if price is not None else []
        rows.append([line.name, _size(line.bytes), f"{line.hours:,.1f}", *cost])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "-" if not count else f"{count / 1e3:.3g} kB"


def main() -> None:
    """Print the table of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", type=float, default=1.0, help="times the measured machine (two cores)")
    parser.add_argument("--price", type=float, help="of an hour of the machine")
    for name in ("images", "shown", "tokens", "seeds", "sites", "epochs", "latents"):
        parser.add_argument(f"--{name}", type=int, help=f"(default: {getattr(Study(), name):,})")
    given = vars(parser.parse_args())
    speed, price = given.pop("speed"), given.pop("price")
    study = replace(Study(), **{name: value for name, value in given.items() if value is not None})
    try:
        print(table(plan(study, Measured(), speed), price))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
