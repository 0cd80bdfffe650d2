"""From documents to pairs of related documents: embeddings, nearest neighbours, selection."""
