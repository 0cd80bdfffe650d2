"""Synthesis: seed documents in, related documents out, with the filters behind it."""
