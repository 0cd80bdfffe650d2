"""Which documents belong together: embeddings, nearest neighbors, pairs."""
