"""Training with Megatron's loop: datasets, attention without Transformer Engine, and a CPU backend."""
