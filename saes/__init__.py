"""Floor 2: learn, load, apply, save and match sparse dictionaries of stream activations."""
