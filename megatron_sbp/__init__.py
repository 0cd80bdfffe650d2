"""Synthetic Bootstrapped Pretraining (arXiv 2509.15248) as a plugin on NVIDIA Megatron."""

__version__ = "0.1.0"
