"""Representational similarity analysis: one entry point, `evaluate`; what stands beside it has a file of its own.

`evaluation` compares model RDMs with a region's; `flexible` models, variance `partition`, feature-`reweighted` RSA and
`permutation` tests follow the same conventions. The RDMs themselves are made in `comparisons.rdms`.
"""

from comparisons.rsa.bootstrap import Draws
from comparisons.rsa.evaluation import MEASURES, check_rdms, evaluate
from comparisons.rsa.inference import RSA

__all__ = ["MEASURES", "RSA", "Draws", "check_rdms", "evaluate"]
