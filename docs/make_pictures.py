"""The README's pictures, from the figures of a run of the demo: `make pictures`, or

    python docs/make_pictures.py runs/demo

Figures that stand in one picture are set below each other; colours are reduced to keep the files small.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).with_name("pictures")
MADE_OF = {
    "demo_verdicts": ["verdicts"],
    "demo_survival": ["survival-topk"],
    "demo_variance": ["transport", "variability-residual-brain", "variability-hierarchical-brain"],
}
"""Each picture, and the figures of the run that stand in it."""
COLOURS = 160
WHITE = (255, 255, 255)


def stacked(images: list[Image.Image]) -> Image.Image:
    """Images below each other on white, left edges aligned."""
    whole = Image.new("RGB", (max(image.width for image in images), sum(image.height for image in images)), WHITE)
    top = 0
    for image in images:
        whole.paste(image.convert("RGB"), (0, top))
        top += image.height
    return whole


def main(run: Path) -> None:
    """Write the pictures beside this script; ends with a sentence where the run has not made a figure."""
    for name, figures in MADE_OF.items():
        paths = [run / "figures" / f"{figure}.png" for figure in figures]
        if missing := [path for path in paths if not path.is_file()]:
            sys.exit(f"error: {missing[0]} is not there; run the demo first (make demo).")
        small = stacked([Image.open(path) for path in paths]).quantize(COLOURS, dither=Image.Dither.NONE)
        path = PICTURES / f"{name}.png"
        small.save(path, optimize=True)
        print(f"{path.name}: {small.width} x {small.height}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
