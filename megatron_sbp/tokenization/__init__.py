"""Text to tokens: a tokenizer trained here or an existing one, and Megatron's IndexedDataset."""
