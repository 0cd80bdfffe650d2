"""Nearest neighbours by inner product of unit vectors: one file per engine."""

from megatron_sbp.pairing.neighbors.stage import NeighborsStage

__all__ = ["NeighborsStage"]
