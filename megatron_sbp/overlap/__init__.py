"""How much text two documents, or a corpus, share."""
