"""Names of the arms, the trainings and the splits, as files and recipes spell them."""

RELATED = "related"
"""The synthesizer of the paper, and the one whose files have the usual names."""

SPLITS = ("train", "oracle", "valid", "test")
"""Splits of the documents. `oracle` holds the additional documents only; the oracle arm trains on train and oracle."""

MOST_SHARDS = 100_000
"""Shards of a kind: their names have five digits, and are sorted as text."""
