"""How sparse dictionaries were trained, or that they were loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comparisons.report.methods.references import Paragraph
from comparisons.results import RunResults

ARCHITECTURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "topk": ("keeps the k largest latents of each token", ("gao2024",)),
    "batchtopk": (
        "keeps the largest latents of a batch, k a token on average, and afterwards those above a threshold that gives "
        "the same number",
        ("bussmann2024",),
    ),
    "matryoshka": (
        "is several nested dictionaries, each of which has to reconstruct on its own (latents as in batch top-k)",
        ("bussmann2025", "bussmann2024"),
    ),
    "jumprelu": ("learns a threshold for each latent, with a penalty that aims at k of them", ("rajamanoharan2024b",)),
    "gated": ("decides on one path which latents are active and on another how strongly", ("rajamanoharan2024a",)),
    "relu": ("has rectified latents with an L1 penalty", ("bricken2023",)),
}


def dictionary_paragraphs(results: RunResults) -> list[Paragraph]:
    """How the dictionaries of a run were trained, from its config, or that they were loaded."""
    if not results.dictionaries:
        return []
    used = {one.name for one in results.dictionaries}
    entries = [entry for entry in results.config.get("saes", ()) if entry.get("name") in used]
    trained = [entry for entry in entries if entry.get("kind") == "train"]
    steps = []
    if trained:
        told = [_trained(entry) for entry in trained]
        text = (
            "A sparse dictionary writes each token of a site as a few of many directions. "
            + " ".join(text for text, _ in told)
            + _recipe([entry.get("training", {}) for entry in trained])
            + " Unexplained variance is the sum of squared errors over the sum of squares about the mean vector."
        )
        works = dict.fromkeys(["gao2024", *(key for _, keys in told for key in keys)])
        steps.append(Paragraph("Sparse dictionaries", text, tuple(works)))
    if loaded := [f"`{entry['name']}`" for entry in entries if entry.get("kind") == "load"]:
        text = (
            f"{', '.join(loaded)}: trained elsewhere and loaded. What was loaded is pinned by commit or sha256, its "
            "model and site were held against the network at hand, and the variance that it explains was measured."
        )
        steps.append(Paragraph("Dictionaries that were loaded", text))
    if any(result.dictionary for result in results.results):
        text = (
            "The codes of a dictionary (the activations of its latents) stand beside the stream as a model of their "
            "own, named MODEL · DICTIONARY, and are compared as the stream is."
        )
        steps.append(Paragraph("Codes", text))
    return steps


def _recipe(trainings: Sequence[Mapping[str, Any]]) -> str:
    """What all trainings share."""
    parts = ["decoder directions have norm 1"]
    if all(training.get("scale", "variance") == "variance" for training in trainings):
        parts.insert(0, "activations are centred and scaled by one number")
    kinds = [training.get("architecture", {}) for training in trainings]
    if any(kind.get("kind", "topk") not in ("relu", "gated") and kind.get("aux_coefficient", 1) for kind in kinds):
        parts.append("dead latents learn from what the others leave over")
    return f" In the training {'; '.join(parts)}."


def _trained(entry: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """How one entry's dictionaries were trained, and the works that it rests on."""
    training = entry.get("training", {})
    architecture = training.get("architecture", {}).get("kind", "topk")
    words, works = ARCHITECTURES.get(architecture, (f"is of the kind {architecture}", ()))
    tokens = entry.get("tokens")
    drawn = f"{tokens} patches of each" if isinstance(tokens, int) else "all patches"
    shown = (entry.get("stimuli") or {}).get("name")
    stimuli = f"the stimuli {shown}" if shown else "the run's own stimuli (not on any recording)"
    long = f"{training['tokens']:,} tokens" if training.get("tokens") else f"{training.get('epochs', 8):g} epochs"
    text = f"`{entry['name']}` {words}; it was trained for {long} on {drawn} of {stimuli}"
    if share := training.get("held_out"):
        text += f", of which {share:.0%}, chosen by id, were held out to measure its quality"
    if entry.get("joint"):
        text, works = f"{text}; it reads all its sites together (a crosscoder)", (*works, "lindsey2024")
    if entry.get("writes"):
        text, works = f"{text}; it predicts {entry['writes']} (a transcoder)", (*works, "dunefsky2024")
    if entry.get("seeds", 1) > 1:
        text, works = f"{text}; {entry['seeds']} seeds show what of it is chance", (*works, "paulo2025")
    return text + ".", works
