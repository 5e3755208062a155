"""Brain-Score, in and out: its benchmarks run on streams and features, and features made a submission to it."""
