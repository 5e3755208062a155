"""Floor 1: stimuli, models and their residual streams, activations on disk, recordings."""
