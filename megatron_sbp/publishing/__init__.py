"""Synthetic corpora and models as folders for the Hugging Face hub: data, weights, and cards that say what they are."""
