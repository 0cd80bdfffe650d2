"""One file per verb of `sbp`: a stage's inputs, settings, units, and outputs."""
