"""Which documents belong together: embeddings, nearest neighbours, pairs."""
