"""Measures of text overlap between documents and corpora."""
