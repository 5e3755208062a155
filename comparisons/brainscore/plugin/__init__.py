"""The files of a plugin, which `ventral brain-score export` copies as they stand.

They run in Brain-Score's containers, where this project is not installed: they import torch, the backbone's library,
safetensors, huggingface_hub and Brain-Score, and each other, but nothing of bridge, saes, probes or comparisons.
Everything that differs between submissions stands in `submission.json` beside them.
"""
