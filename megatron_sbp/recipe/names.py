"""Names of the arms, the trainings and the splits, as files and recipes spell them."""

ARMS = ("baseline", "sbp", "oracle")
"""The three arms, in the order in which they are reported."""

MODELS = ("baseline", "synthesizer", "sbp", "oracle")
"""Everything that is trained."""

SPLITS = ("train", "oracle", "valid", "test")
"""Splits of the documents. `oracle` holds the additional documents only; the oracle arm trains on train and oracle."""
