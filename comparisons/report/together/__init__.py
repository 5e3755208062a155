"""Several runs side by side: models by data sets, and their verdicts; a page, tables and a picture."""
