"""Datasets of a training: epochs, packed pairs, blends."""
