"""Paths of the trained models, and of the figures of models and texts."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.placed import Placed


class ResultPaths(Placed):
    """Of models and figures, in the order in which they are made."""

    def model(self, name: str) -> Path:
        """Folder of Megatron checkpoints, logs and blend.lock.json of one training run. `start` is there while the
        tuning runs from `tuning.start`: that checkpoint as Megatron reads it."""
        return self.at(usual.model(name))

    def export(self, name: str) -> Path:
        """Hugging Face checkpoint of one training run."""
        return self.at(usual.export(name))

    def evaluation(self, name: str) -> Path:
        """JSON of one arm, or `quality`."""
        return self.at(f"evaluation/{name}.json")

    def harness(self, arm: str) -> Path:
        """JSON of lm-eval's figures for an arm."""
        return self.at(f"harness/{arm}.json")

    def answers(self, name: str) -> Path:
        """JSON lines: what a judge behind an endpoint answered for one quality sheet. No stage owns them: they cost
        money, and stay valid whatever is replaced."""
        return self.root / "answers" / f"{self.named(f'evaluation/{name}').replace('/', '.')}.answers.jsonl"

    def corpus_findings(self, sheet: str) -> Path:
        """Folder of the overlap of D with the texts of a quality sheet: KIND-NNNNN-NNNNN.npz, one file per part."""
        return self.at(usual.corpus_findings(sheet))

    def finding(self, sheet: str, name: str) -> Path:
        """That of one part."""
        return self.corpus_findings(sheet) / f"{name}.npz"

    def findings(self, sheet: str) -> list[Path]:
        """Those of all parts."""
        return sorted(self.corpus_findings(sheet).glob("*.npz"))

    def chosen_texts(self, sheet: str) -> Path:
        """Which texts a sheet compares, in a folder of their own while `scan-corpus` runs."""
        return self.corpus_findings(sheet) / "chosen" / f"texts{JSONL_ZST}"

    @property
    def task_items(self) -> Path:
        """The items of lm-eval's tasks, as texts."""
        return self.at(f"{usual.TASK_ITEMS}/tasks{JSONL_ZST}")

    @property
    def results_file(self) -> Path:
        return self.at(usual.RESULTS)

    @property
    def report_file(self) -> Path:
        return self.at("report/index.html")
