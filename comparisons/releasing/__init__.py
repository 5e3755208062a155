"""Releases: dictionaries of every site of a network, trained, judged, described and published by one command."""
