"""Held-out figures of every arm, and the quality of the synthetic text."""
