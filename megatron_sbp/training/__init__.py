"""Training with Megatron's own loop: our datasets, our attention without Transformer Engine, a CPU backend."""
