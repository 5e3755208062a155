"""P2, variability: does what varies at a stage come from all the stages before it?

Statistics of networks (transport along the stream) and of recordings. The rules that turn them into verdicts stand in
comparisons.verdicts.variability.
"""
