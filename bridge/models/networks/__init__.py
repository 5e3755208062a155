"""Network architectures that no library provides, as torch modules."""
