"""One model under all probes: what `kind: probe` computes, site by site."""

from comparisons.probing.chosen import Chosen, chosen_sites, dictionary
from comparisons.probing.found import Found
from comparisons.probing.model import probe_model

__all__ = ["Chosen", "Found", "chosen_sites", "dictionary", "probe_model"]
