"""One file per verb of `sbp`: what a stage reads, its settings, units and outputs."""
