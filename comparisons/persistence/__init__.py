"""P1, persistence: whether simple information stays readable at every stage.

Networks:

    decodability     what a linear reader finds of edges across conditions, with an interval, site by site
    survival         how long features last over depth, corrected for what seeds of one dictionary share
    skip_ablation    what is lost where a block passes nothing on

Recordings:

    unique_simple    the share of signal variance that simple features alone explain, with its leak bound
    grating_cells    decodability over grating cells, relative to a population that carries simple features alone
    partial_rsa      for data sets that are RDMs only (a weak grade of evidence)

Statistics are pure; their rules stand in `comparisons.verdicts.persistence`.
"""
