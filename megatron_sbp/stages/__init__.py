"""One file per verb of `sbp`: a stage's inputs, settings, units, and outputs.

`run_folder.py` and `*_paths.py` have the paths that they share, `*_names.py` the names, `scopes.py` the folders of
replicates and synthesizers, `graph.py` the order.
"""
