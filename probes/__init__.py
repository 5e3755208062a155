"""Floor 3: what a unit, a feature or a stage encodes. Plain arrays in, numbers out."""
