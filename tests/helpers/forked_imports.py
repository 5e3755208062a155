# ruff: noqa: F401
"""What a run imports, imported once for many (see `forked`). Nothing is computed: no library may start its threads."""

import jinja2
import joblib
import matplotlib.pyplot
import pandas
import pyarrow
import scipy.optimize
import scipy.sparse
import scipy.stats
import sklearn.linear_model
import sklearn.model_selection
import sympy
import torch._dynamo

import bridge.activations
import bridge.models.networks.demo
import bridge.stimuli.procedural.textures
import comparisons.cli
import comparisons.config
import comparisons.dictionaries
import comparisons.encoding.recordings_encoded
import comparisons.executors.spread
import comparisons.plan
import comparisons.progress
import comparisons.report.figures
import comparisons.report.page
import comparisons.rsa.permutation
import comparisons.running
import saes.checkpoints
import saes.hub
import saes.training
