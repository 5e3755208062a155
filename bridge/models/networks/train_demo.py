"""Train the embedded networks on drawn scenes: `python -m bridge.models.networks.train_demo [NAME ...]`.

Writes bridge/models/weights/NAME.safetensors and what it reaches to bridge/models/weights/accuracy.json. NAME.SEED
trains a network from another seed than 0: claims about trained networks need several of them.
Eight object categories, position, size, pose, tone and background varied; the exemplars that are tested on are not
trained on. Eight epochs take five to ten minutes a network on two cores. The residual network and its plain twin see
the same images in the same order and differ in nothing but the skips.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from bridge.models.controls import lottery_ticket
from bridge.models.demo import NETWORKS, PREPROCESSING, WEIGHTS, build
from bridge.stimuli.battery import Battery

TRAIN = Battery(name="train", families=("scenes",), seed=1000, size=64, exemplars=17, images_per_exemplar=160)
EPOCHS, BATCH, PEAK_LR, DECAY = 8, 128, 4e-3, 0.05
PRUNED = 0.8
"""Share of the weights that the lottery ticket does without."""


def images_and_labels(spec: Battery, categories: list[str]) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Images uint8 [n, 64, 64, 3], labels int [n], and which are held out, bool [n]."""
    stimuli = spec.load()
    images = np.stack([stimuli.image(row) for row in range(len(stimuli))])
    labels = torch.tensor([categories.index(name) for name in stimuli.table["category"]])
    return images, labels, stimuli.table["held_out"].to_numpy(bool)


def inputs(images: np.ndarray) -> torch.Tensor:
    """Prepared inputs float32 [n, 3, 64, 64]."""
    return torch.from_numpy(np.stack([PREPROCESSING(image) for image in images]))


def train(name: str, images: np.ndarray, labels: torch.Tensor, seed: int = 0) -> torch.nn.Module:
    """One network from scratch; a lottery ticket from the trained network of which it is one."""
    torch.manual_seed(seed)
    module = build(name)
    if name != "residual-ticket":
        fit(name, module, images, labels, seed)
        return module.eval()
    start = {key: value.clone() for key, value in module.state_dict().items()}
    module.load_state_dict(load_file(WEIGHTS / "residual.safetensors"))
    lottery_ticket(module, lambda ticket: fit(name, ticket, images, labels, seed), start, PRUNED)
    return module.eval()


def fit(name: str, module: torch.nn.Module, images: np.ndarray, labels: torch.Tensor, seed: int) -> None:
    """Train in place: AdamW, one-cycle learning rate, label smoothing, shifts and mirror images."""
    rng = np.random.default_rng(seed)
    module.train().to(memory_format=torch.channels_last)
    x = inputs(images)
    optimiser = torch.optim.AdamW(module.parameters(), lr=PEAK_LR, weight_decay=DECAY)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LR, total_steps=EPOCHS * steps, pct_start=0.2)
    for epoch in range(EPOCHS):
        began, correct, order = time.time(), 0, rng.permutation(len(x))
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            batch = shifted(x[rows], rng)
            logits = module(batch.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, labels[rows], label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            correct += int((logits.argmax(1) == labels[rows]).sum())
        print(
            f"{name} epoch {epoch + 1}/{EPOCHS}: train {correct / (steps * BATCH):.3f}, {time.time() - began:.0f} s",
            flush=True,
        )


def shifted(x: torch.Tensor, rng: np.random.Generator, pixels: int = 4) -> torch.Tensor:
    """The batch moved by a few pixels, and mirrored half of the time."""
    padded = functional.pad(x, (pixels,) * 4, mode="replicate")
    top, left = rng.integers(0, 2 * pixels + 1, 2)
    x = padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return x.flip(3) if rng.random() < 0.5 else x


@torch.inference_mode()
def accuracy(module: torch.nn.Module, images: np.ndarray, labels: torch.Tensor) -> float:
    """Share of images whose category is named rightly."""
    hits = [module(inputs(images[i : i + 256])).argmax(1) == labels[i : i + 256] for i in range(0, len(images), 256)]
    return float(torch.cat(hits).float().mean())


def main(names: list[str]) -> None:
    """Train the named networks, keep their weights, and write down what they reach."""
    began = time.time()
    stimuli = TRAIN.load()
    categories = sorted(set(stimuli.table["category"]))
    images, labels, held_out = images_and_labels(TRAIN, categories)
    print(f"{len(images)} scenes drawn in {time.time() - began:.0f} s, {held_out.mean():.0%} held out", flush=True)
    WEIGHTS.mkdir(exist_ok=True)
    table = WEIGHTS / "accuracy.json"
    for name in names:
        network, _, seed = name.partition(".")
        module = train(network, images[~held_out], labels[torch.from_numpy(~held_out)], int(seed or 0))
        reached = json.loads(table.read_text()) if table.exists() else {}
        reached[name] = {
            "held_out_exemplars": round(accuracy(module, images[held_out], labels[torch.from_numpy(held_out)]), 4),
            "parameters": sum(p.numel() for p in module.parameters()),
            "categories": categories,
            "training": TRAIN.content(),
            "epochs": EPOCHS,
        }
        save_file(
            {key: value.contiguous() for key, value in module.state_dict().items()}, WEIGHTS / f"{name}.safetensors"
        )
        table.write_text(json.dumps(dict(sorted(reached.items())), indent=1) + "\n")
        print(f"{name}: {reached[name]['held_out_exemplars']:.3f} on exemplars never seen (chance .125)", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), help=f"{', '.join(NETWORKS)}; NAME.SEED")
    main(parser.parse_args().names)
