#!/usr/bin/env python3
"""Constraints for pip that keep what an image has built for its own CUDA: NAME==VERSION of those that are installed."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "triton",
    "pytorch-triton",
    "transformer-engine",
    "flash-attn",
    "apex",
    "numpy",
)

if __name__ == "__main__":
    for package in PACKAGES:
        try:
            print(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
