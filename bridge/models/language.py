"""Causal language models of Hugging Face transformers, by plain hooks or through a TransformerLens bridge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from bridge.errors import InputError
from bridge.models.base import Backbone, ModelSpec
from bridge.models.seeding import drawn

if TYPE_CHECKING:
    import torch
    from torch import nn


class Language(ModelSpec):
    """A causal language model that reads the column `text` of its stimuli.

    Texts are padded on the right to `tokens` and the padding is masked, so every site has the same shape for every
    batch and what stands on real tokens does not depend on the padding (`Backbone.token_mask` says which are real).
    """

    kind: Literal["language"] = "language"
    model: str | None = None
    """A hub repository (`gpt2`) or a local folder with config.json."""
    revision: str | None = None
    """Branch, tag or commit of the repository; its commit becomes part of the model's identity."""
    architecture: str | None = None
    """Instead of `model`: a model type of transformers (`gpt2`, `llama`, `gpt_neox`), drawn anew."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of the configuration that differ from its defaults (sizes, number of layers)."""
    weights: Path | Literal["pretrained"] | None = "pretrained"
    """`pretrained` (those of `model`), a checkpoint file, or nothing: untrained."""
    tokenizer: str | None = None
    """A repository or folder with the tokenizer, where it is not that of `model`."""
    tokens: int = Field(default=16, gt=0)
    """Number of tokens that every text is padded to; longer texts are refused."""
    attention: Literal["sdpa", "eager"] | None = None
    """Which implementation of attention runs; without it, the library's choice (values differ by rounding)."""
    backend: Literal["hooks", "transformer-lens"] = "hooks"
    """Plain hooks, or the same through a TransformerLens bridge (which forces eager attention)."""

    @model_validator(mode="after")
    def _one_source(self) -> Language:
        if (self.model is None) == (self.architecture is None):
            raise ValueError("state either `model` (a repository or folder) or `architecture` (drawn anew)")
        return self

    @override
    def fingerprint(self) -> dict[str, Any]:
        from bridge.hub import source_fingerprint, versions
        from bridge.models.checkpoints import weights_fingerprint

        path = self.weights if isinstance(self.weights, Path) and not self.untrained else None
        packages = ["transformers"] + (["transformer-lens"] if self.backend == "transformer-lens" else [])
        tokenizer = source_fingerprint(self.tokenizer, None) if self.tokenizer is not None else {}
        return {
            **super().fingerprint(),
            **source_fingerprint(self.model, self.revision),
            **weights_fingerprint(path),
            "tokenizer": tokenizer,
            "versions": versions(*packages),
        }

    @override
    def to_fetch(self) -> list[tuple[str, int | None]]:
        from bridge.hub import to_fetch

        return to_fetch(self.model) if self.weights == "pretrained" and not self.untrained else []

    @override
    def build(self) -> Backbone:
        import torch

        from bridge.models.checkpoints import load_weights
        from bridge.models.huggingface_vision import bridged, layer_paths
        from bridge.models.mapping import find_maps

        tokenizer = self._tokenizer()
        module, vocabulary = self._module()
        if isinstance(self.weights, Path) and not self.untrained:
            load_weights(module, self.weights, self.name)
        module.eval()
        paths = layer_paths(module)
        if self.backend == "transformer-lens":
            module = bridged(module, self.name, tokenizer)
            paths = [f"blocks.{index}" for index in range(len(paths))]
        ids = torch.randint(0, vocabulary, (1, self.tokens), generator=torch.Generator().manual_seed(0))
        example = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        backbone = Backbone(self.name, module, [], None, layout="btc", example=example)
        backbone.ids_argument = "input" if self.backend == "transformer-lens" else "input_ids"
        backbone.tokenizer = None if tokenizer is None else padded(tokenizer, self.tokens, self.name)
        backbone.blocks = find_maps(module, self.name, paths, lambda: backbone.forward(example))
        return backbone

    def _module(self) -> tuple[nn.Module, int]:
        """The network, and how many tokens its vocabulary has."""
        import transformers

        from bridge.hub import fetching
        from bridge.models.huggingface_vision import _commit, configuration, made

        attention = "eager" if self.backend == "transformer-lens" else self.attention
        commit = _commit(self.model, self.revision)
        if self.model is None:
            config = configuration(self.architecture or "", self.options)
        else:
            with fetching(self.model):
                config = transformers.AutoConfig.from_pretrained(self.model, revision=commit, **self.options)
        config.use_cache = False
        source = self.model if self.weights == "pretrained" and not self.untrained else None
        with drawn(self.seed):
            module = made(transformers.AutoModelForCausalLM, config, source, commit, attention)
        return module, int(config.vocab_size)

    def _tokenizer(self) -> Any:
        """The tokenizer, or None for a network from a configuration that states none."""
        source = self.tokenizer or self.model
        if source is None:
            return None
        import transformers

        from bridge.hub import fetching
        from bridge.models.huggingface_vision import _commit

        commit = _commit(source, self.revision if self.tokenizer is None else None)
        with fetching(source):
            return transformers.AutoTokenizer.from_pretrained(source, revision=commit)


def padded(tokenizer: Any, tokens: int, name: str) -> Callable[[list[str]], dict[str, torch.Tensor]]:
    """From texts to input_ids and attention_mask, int64 [batch, tokens], padded on the right."""

    def prepare(texts: list[str]) -> dict[str, torch.Tensor]:
        import torch

        rows = [tokenizer(text)["input_ids"] for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not 0 < len(row) <= tokens:
                raise InputError(
                    f"The text {text[:40]!r} has {len(row)} tokens for {name}, which takes 1 to {tokens}; give other "
                    "texts or state another number of `tokens`."
                )
        # What stands on a padded place is masked: any id of the vocabulary will do where none is reserved.
        pad = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        ids = torch.full((len(rows), tokens), pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    return prepare
