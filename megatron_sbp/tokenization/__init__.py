"""Text to tokens: a tokenizer of one's own or somebody else's, and Megatron's IndexedDataset."""
