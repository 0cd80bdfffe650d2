"""Tokenizers (trained here or loaded from Hugging Face) and Megatron's IndexedDataset."""
