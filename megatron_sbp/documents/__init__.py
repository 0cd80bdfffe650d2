"""Raw documents to splits: reading, dropping, splitting, writing in shards."""

SPLITS = ("train", "oracle", "valid", "test")
"""Folders of documents. `oracle` has the further documents only; the oracle arm trains on train and oracle."""
