"""A study of one's own: the folder that `ventral init` writes, and what is still missing in it."""
