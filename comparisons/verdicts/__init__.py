"""Verdicts: the stated rules that turn statistics into SUPPORTED, REFUTED, INCONCLUSIVE or NOT TESTABLE.

One file a prediction; each threshold is a constant that says where it comes from. Rules are pure: estimates with
standard errors or draws in, a `comparisons.results.Verdict` out.
"""
