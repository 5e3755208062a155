"""Tuning to gratings, for thousands of features at once: orientation, spatial frequency, phase, size, contrast, colour.

Conventions are those of the drawn gratings: orientations in degrees anticlockwise from horizontal, in [0, 180); phases
in degrees; responses are arrays [n_stim, feature]. Golden values and their sources stand with each function.
"""
