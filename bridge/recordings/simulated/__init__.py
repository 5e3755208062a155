"""A simulated ventral stream, V1 to IT, whose answer is known. SIMULATED wherever it is shown.

`spec` is what a config can ask for, `seen` what the stream takes from the images, `maps` and `stream` make its states
on every trial, `counts` the spikes of neuroids that read the states, `bands` the features an analyst would have.
"""

from bridge.recordings.simulated.bands import Bands, analyst_bands
from bridge.recordings.simulated.counts import record, record_bins
from bridge.recordings.simulated.maps import signal_covariance
from bridge.recordings.simulated.seen import Seen, grey_images, orientation_targets, seen, whitened_energies
from bridge.recordings.simulated.spec import GENERATOR, SimulatedRecordings
from bridge.recordings.simulated.stream import Stage, Stream, simulate

__all__ = [
    "GENERATOR",
    "Bands",
    "Seen",
    "SimulatedRecordings",
    "Stage",
    "Stream",
    "analyst_bands",
    "grey_images",
    "orientation_targets",
    "record",
    "record_bins",
    "seen",
    "signal_covariance",
    "simulate",
    "whitened_energies",
]
