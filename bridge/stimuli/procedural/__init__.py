"""The drawn stimuli, one file a family: tables of conditions, and pure functions from a condition to an image."""
