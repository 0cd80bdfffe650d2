"""Loss per data source (real, synthetic, ...): shows at every evaluation which part of the blend is learned.

A synthetic sample is used once, so its training loss is that of unseen text. The loss of repeated real documents falls
below the held-out loss as soon as they are memorized: the gap shows it.
"""

from __future__ import annotations

import torch


class SourceLosses:
    """Sums of losses and tokens by source since the last evaluation.

    Args:
        names: sources in the order of the data file.
    """

    def __init__(self, names: list[str]):
        self.names = names
        self._sums: torch.Tensor | None = None

    def add(self, losses: torch.Tensor, mask: torch.Tensor, sources: torch.Tensor) -> None:
        """Adds a micro-batch.

        Args:
            losses: float [B, S], losses of all tokens.
            mask: float [B, S], 1 where a token counts.
            sources: int64 [B], number of each sequence's source.
        """
        with torch.no_grad():
            if self._sums is None:
                self._sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=losses.device)
            counts = mask.sum(dim=1).double()
            totals = (losses.detach().float() * mask).sum(dim=1).double()
            self._sums.index_add_(0, sources, torch.stack([totals, counts], dim=1))

    def take(self, group: object, device: torch.device | str) -> dict[str, dict[str, float]]:
        """Means over all ranks of `group` since the last call, for the sources used; resets the sums.

        Every rank of the group must call it. Returns {source: {"loss": mean per token, "tokens": how many}}.
        """
        sums = self._sums
        if sums is None:
            sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(sums, group=group)
        self._sums = None
        rows = zip(self.names, sums.tolist(), strict=True)
        return {name: {"loss": total / count, "tokens": int(count)} for name, (total, count) in rows if count}
