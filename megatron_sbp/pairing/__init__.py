"""Finds related documents: embeddings, nearest neighbors, pairs."""
