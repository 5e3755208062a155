"""Validation of the verdicts against known truths: simulated data sets, the confusion matrix, power before data."""
