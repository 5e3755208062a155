"""The kinds of comparison that a config can ask for. One file a comparison; it is found because it stands here."""
