"""Checkpoints: from Megatron to Hugging Face."""
