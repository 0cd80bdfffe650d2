"""Names of arms, training runs, and splits, as in files and recipes."""

RELATED = "related"
"""The paper's synthesizer; its files have the default names."""

SPLITS = ("train", "oracle", "valid", "test")
"""Splits of the documents. `oracle` holds the additional documents only; the oracle arm trains on train and oracle."""

MOST_SHARDS = 100_000
"""Maximum number of shards of a kind: their names have five digits and are sorted as text."""
