"""Where the stages of a run are computed: in this process, in several of this machine, or on a cluster.

    base.py     what a config says of it, and what a kind of workers offers
    local.py    this process, or a few beside it
    cluster.py  a dask.distributed cluster: of this machine, at an address, or of jobs under SLURM
    work.py     what a worker does: make the plan again from the config, and obtain one stage of it from the store
    spread.py   hands out what can be computed, and tells how it stands

Stages are independent given what they need, and what they need lies in the store. So a worker is told the config and
the name of a stage, and gives back how long it took: no array travels but through the store, where every artefact is
made by one process at a time (`bridge.claims`) and appears whole.
"""
