"""Raw documents to splits: reading, deduplicating, splitting, writing shards."""

SPLITS = ("train", "oracle", "valid", "test")
"""Folders of documents. `oracle` has only the additional documents; the oracle arm trains on train and oracle."""
