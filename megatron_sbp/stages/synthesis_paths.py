"""Paths of the generations, and of those that passed the filters."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST, numbered_shards
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.placed import Placed
from megatron_sbp.synthesis.judged import PARTS, Judged


class SynthesisPaths(Placed):
    """Of the synthetic text, in the order in which they are made."""

    def pilot_shard(self, name: str) -> Path:
        """Generations that were written first, to see how many pass the filters."""
        return self.at(usual.pilot_shard(name))

    @property
    def pilot_audit(self) -> Path:
        """How many of them do."""
        return self.at(usual.AUDIT_PILOT)

    @property
    def generations(self) -> Path:
        """Folder with NNNNN.jsonl.zst: everything that the synthesizer wrote, before the filters."""
        return self.at(usual.GENERATIONS)

    def generation_shards(self) -> list[Path]:
        """The files of the raw generations, in order; not those beyond the plan, which another process may write.

        Raises:
            InputError: the file that says how many are planned is damaged.
        """
        shards = numbered_shards(self.generations, JSONL_ZST)
        if not self.generated.exists():  # of a version that did not write it
            return shards
        return shards[: files.read_json(self.generated)["shards"]]

    @property
    def generated(self) -> Path:
        """How many shards of raw generations there are."""
        return self.at(usual.GENERATED)

    def generation_shard(self, name: str) -> Path:
        """One of them."""
        return self.at(usual.generation_shard(name))

    @property
    def more_generations(self) -> Path:
        """How many generations are planned because fewer left too few tokens, and how many tokens those left."""
        return self.at(usual.MORE_GENERATIONS)

    @property
    def similarities(self) -> Path:
        """Folder with NNNNN.npy: how similar every raw generation is to its seed document."""
        return self.at(usual.SIMILARITIES)

    def similarity(self, name: str) -> Path:
        """That of one shard."""
        return self.at(usual.similarity(name))

    def judged(self, name: str) -> Judged:
        """The filters' verdicts on one shard of raw generations, and the signatures for finding duplicates."""
        return Judged(*(self.at(usual.judged(part, name)) for part in PARTS))

    def found(self, search: str) -> Path:
        """Results of one search for duplicates; removed when all are joined."""
        return self.at(f"synthetic/repeats/found/{search}.npy")

    def repeats(self, name: str) -> Path:
        """Which generations of one shard repeat an earlier one, of it or of the shards before."""
        return self.at(usual.repeats(name))

    @property
    def synthetic(self) -> Path:
        """Folder of the synthetic documents that passed the filters, and of generations/, where they come from."""
        return self.at(usual.SYNTHETIC)

    def synthetic_shard(self, name: str) -> Path:
        """Synthetic documents that passed the filters, with their parents: NNNNN.jsonl.zst."""
        return self.at(usual.synthetic_shard(name))

    def synthetic_shards(self) -> list[Path]:
        """The files of the synthetic documents, in order."""
        return numbered_shards(self.synthetic, JSONL_ZST)

    def shard_audit(self, name: str) -> Path:
        """What happened to the generations of one shard."""
        return self.at(f"synthetic/audits/{name}.json")

    @property
    def audit_synthetic(self) -> Path:
        return self.at(usual.AUDIT_SYNTHETIC)
