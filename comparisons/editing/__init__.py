"""P3, editing: is part of what a stage receives deleted by the stage's own write, depending on context?

Pure statistics: arrays in, numbers out. The rule that turns them into a verdict stands in comparisons.verdicts.editing.
"""
