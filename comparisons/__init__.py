"""Floor 4: run a config; statistics, predictions, verdicts, the report, the submission, the command line."""
