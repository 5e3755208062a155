"""The report of a run: one page that opens offline, and its figures as files."""
