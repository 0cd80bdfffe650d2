"""The k nearest documents of every document, by inner product of unit vectors.

Two engines: `scann` (approximate, CPU) and `exact` (matrix products, CPU or GPU), both behind search.py. Whichever
finds the neighbors, their scores are computed in the same way (scores.py), so that equal pairs have equal scores to the
last bit.
"""
