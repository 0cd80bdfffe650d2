"""Where everything of one run is on disk; `usual_names.py` has the names."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import is_utf8
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.names import MOST_SHARDS
from megatron_sbp.recipe.names import SPLITS as SPLITS
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.synthesis.judged import PARTS, Judged


def shard_name(index: int) -> str:
    """`00003`: the number of a shard as written in file names and unit names, which are sorted as text.

    Raises:
        InputError: the number has six digits.
    """
    if index >= MOST_SHARDS:
        raise InputError(
            f"a run has at most {MOST_SHARDS:,} shards of a kind; raise documents.documents_per_shard or "
            "synthesis.generations_per_shard"
        )
    return f"{index:05d}"


@dataclass(frozen=True)
class Scope:
    """A part of a run folder with files of its own under the usual names: those of a synthesizer or a replicate."""

    prefix: str
    """Folder below the run folder."""
    patterns: tuple[str, ...]
    """Glob patterns of the names that lead there; a folder means all that is in it."""


@dataclass(frozen=True)
class Run:
    """A recipe together with its run folder. Paths only: nothing is created here.

    A stage that replaces finished outputs works on a view (`view`) in which the paths that it owns lead to a work
    folder; all other paths are the run folder's. Manifests name files as they are called below the run folder.

    A stage of a further synthesizer or replicate works in scopes (`scoped`): it uses the usual names, and finds its
    own files under them, such as synthesizers/random/pairs/audit.json for pairs/audit.json.
    """

    recipe: Recipe
    root: Path
    work: Path | None = None
    """The work folder of a view."""
    owned: tuple[str, ...] = ()
    """Glob patterns below the run folder of what a view redirects; a folder means all that is in it."""
    scopes: tuple[Scope, ...] = ()
    """Applied one after another, each to the usual name: the prefixes of all that match are put in front."""

    @staticmethod
    def of(recipe: Recipe) -> Run:
        """The run of a recipe: `run_folder`, or runs/LABEL below the current folder, where LABEL follows from the place
        of the recipe (`label`).

        Raises:
            InputError: no text can hold the path of the run folder, or of the recipe.
        """
        root = Path(recipe.run_folder or f"runs/{label(recipe)}").resolve()
        for path in (root, recipe.folder):
            if not is_utf8(path) or "\n" in str(path):
                raise InputError("has a line feed or bytes that are not UTF-8 in its path; rename it", file=path)
        return Run(recipe, root)

    def view(self, work: Path, owned: tuple[str, ...]) -> Run:
        """The same run with the paths in `owned` below `work`."""
        return replace(self, work=work, owned=owned)

    def scoped(self, recipe: Recipe, scopes: tuple[Scope, ...]) -> Run:
        """The same run folder as a stage in `scopes` sees it, with the recipe of that stage."""
        return replace(self, recipe=recipe, scopes=scopes)

    def named(self, usual: str) -> str:
        """The name below the run folder of a file, a folder or a glob pattern that is usually called `usual`."""
        return "".join(f"{scope.prefix}/" for scope in self.scopes if owns(scope.patterns, usual)) + usual

    def at(self, usual: str) -> Path:
        """Where the file or folder with the usual name `usual` is."""
        relative = self.named(usual)
        if self.work is not None and owns(self.owned, relative):
            return self.work / relative
        return self.root / relative

    def relative(self, path: Path) -> str:
        """A path as manifests write it: below the run folder."""
        base = self.root
        if self.work is not None and path.is_relative_to(self.work):
            base = self.work
        return path.relative_to(base).as_posix()

    @property
    def marker_file(self) -> Path:
        """Says that this is a run folder, and of which recipe."""
        return self.root / "sbp-run.json"

    @property
    def resolved_file(self) -> Path:
        """The recipe as it ran, with every default written out."""
        return self.root / "resolved.yaml"

    @property
    def aside(self) -> Path:
        """What was replaced or found damaged and is not the program's to delete."""
        return self.root / "aside"

    def new_aside(self, label: str) -> Path:
        """Makes a new folder below aside/ for files that are moved out of the way."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count():
            folder = self.aside / (f"{label}-{stamp}" + (f"-{number}" if number else ""))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
        raise AssertionError  # count() does not end

    def work_folder(self, stage: str, key: str) -> Path:
        """Where a stage makes outputs that will replace finished ones."""
        return self.root / ".work" / f"{stage}-{key[:12]}"

    def work_folders(self, stage: str) -> list[Path]:
        """Those of a stage that are there, under whatever key."""
        return sorted((self.root / ".work").glob(f"{stage}-*"))

    @property
    def plan_file(self) -> Path:
        return self.root / "plan.json"

    @property
    def results_file(self) -> Path:
        return self.at(usual.RESULTS)

    @property
    def report_file(self) -> Path:
        return self.at("report/index.html")

    @property
    def tokenizer(self) -> Path:
        """Folder that `AutoTokenizer.from_pretrained` and Megatron's HuggingFaceTokenizer load."""
        return self.at(usual.TOKENIZER)

    @property
    def audit_documents(self) -> Path:
        """Counts of documents read, dropped (with reasons) and split."""
        return self.at(usual.AUDIT_DOCUMENTS)

    def documents(self, split: str) -> Path:
        """Folder with NNNNN.jsonl.zst of one split."""
        return self.at(f"documents/{split}")

    def document_shards(self, split: str) -> list[Path]:
        """The files of one split, in order."""
        return sorted(self.documents(split).glob(usual.NUMBERED + usual.SHARD))

    def document_shard(self, split: str, name: str) -> Path:
        """One of them, by its number as in `shard_name`."""
        return self.documents(split) / f"{name}{usual.SHARD}"

    def tokens(self, name: str) -> Path:
        """Prefix of a Megatron IndexedDataset (NAME.bin, NAME.idx): real, oracle, valid, test, pairs, valid_pairs,
        synthetic. `oracle` holds all of the oracle arm's documents, D included."""
        return self.at(usual.tokens(name, "bin")).with_suffix("")

    def embeddings(self, split: str) -> Path:
        """Folder with NNNNN.npy, float16 [documents, dim], rows in the order of documents/SPLIT/NNNNN.jsonl.zst."""
        return self.at(usual.embeddings(split))

    def embedding_shards(self, split: str) -> list[Path]:
        """The embeddings of one split, in order."""
        return sorted(self.embeddings(split).glob("[0-9]*.npy"))

    def embedding_shard(self, split: str, name: str) -> Path:
        """One of them."""
        return self.embeddings(split) / f"{name}.npy"

    def neighbors(self, split: str) -> Path:
        """Folder with NNNNN.npz: ids int64 [documents, k] (row numbers over all shards of the split, -1 for none),
        scores float32 [documents, k]."""
        return self.at(f"neighbors/{split}")

    def neighbor_shards(self, split: str) -> list[Path]:
        """The neighbors of one split, in order."""
        return sorted(self.neighbors(split).glob("[0-9]*.npz"))

    def neighbor_shard(self, split: str, name: str) -> Path:
        """One of them."""
        return self.neighbors(split) / f"{name}.npz"

    def pairs(self, split: str) -> Path:
        """Parquet of the kept pairs: seed, target (row numbers over all shards of the split), seed_id, target_id,
        score. `train` for tuning, `valid` for early stopping."""
        return self.at(usual.pairs(split))

    @property
    def pair_shards(self) -> Path:
        """Folder of the pairs of single shards; removed when all are joined."""
        return self.at("pairs/shards")

    def pair_shard(self, name: str) -> Path:
        """The pairs of one."""
        return self.pair_shards / f"{name}.parquet"

    def pair_shard_audit(self, name: str) -> Path:
        """What was dropped of one."""
        return self.pair_shards / f"{name}.json"

    @property
    def audit_pairs(self) -> Path:
        return self.at(usual.AUDIT_PAIRS)

    def model(self, name: str) -> Path:
        """Folder of Megatron checkpoints, logs and blend.lock.json of one training. `start` is there while the tuning
        runs from `tuning.start`: that checkpoint as Megatron reads it."""
        return self.at(usual.model(name))

    def export(self, name: str) -> Path:
        """Hugging Face checkpoint of one training."""
        return self.at(usual.export(name))

    @property
    def generations(self) -> Path:
        """Folder with NNNNN.jsonl.zst: everything that the synthesizer wrote, before the filters."""
        return self.at(usual.GENERATIONS)

    def generation_shards(self) -> list[Path]:
        """The files of the raw generations, in order; not those beyond the plan, which another process may write.

        Raises:
            InputError: the file that says how many are planned is damaged.
        """
        shards = sorted(self.generations.glob(usual.NUMBERED + usual.SHARD))
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

    def pilot_shard(self, name: str) -> Path:
        """Generations that were written first, to see how many pass the filters."""
        return self.at(usual.pilot_shard(name))

    @property
    def pilot_audit(self) -> Path:
        """How many of them do."""
        return self.at(usual.AUDIT_PILOT)

    @property
    def stop_file(self) -> Path:
        """While it exists, nothing of the run starts, and whatever runs stops."""
        return self.root / "stop"

    @property
    def save_file(self) -> Path:
        """Whenever it is touched, trainings save a checkpoint and continue."""
        return self.root / "save"

    @property
    def document_parts(self) -> Path:
        """What reading the files of the corpus leaves, until the shards are cut."""
        return self.at("documents/parts")

    @property
    def neighbors_index(self) -> Path:
        """ScaNN's indexes while the search runs."""
        return self.at("neighbors/index")

    @property
    def audit_neighbors(self) -> Path:
        return self.at(usual.AUDIT_NEIGHBORS)

    def audit_tokens(self, name: str) -> Path:
        """Counts of datasets: `audit` (documents), `pairs_audit`, `synthetic_audit`; `synthetic_parts`, by shard."""
        return self.at(usual.audit_tokens(name))

    @property
    def corpus_index(self) -> Path:
        """Folder of the index of D's shingles: index.json, starts/NNNNN.npy and remainders/NNNNN.npy."""
        return self.at(usual.CORPUS_INDEX)

    @property
    def corpus_index_file(self) -> Path:
        """Says how the index is laid out; written last."""
        return self.at(usual.CORPUS_INDEX_FILE)

    def token_parts(self, stage: str) -> Path:
        """Folder of what single units of a stage tokenized; it is removed when the stage is complete."""
        return self.at(usual.token_parts(stage))

    @property
    def synthetic(self) -> Path:
        """Folder of the synthetic documents that passed the filters, and of generations/, where they come from."""
        return self.at(usual.SYNTHETIC)

    def synthetic_shard(self, name: str) -> Path:
        """Synthetic documents that passed the filters, with their parents: NNNNN.jsonl.zst."""
        return self.at(usual.synthetic_shard(name))

    def synthetic_shards(self) -> list[Path]:
        """The files of the synthetic documents, in order."""
        return sorted(self.synthetic.glob(usual.NUMBERED + usual.SHARD))

    def judged(self, name: str) -> Judged:
        """What the filters said of one shard of raw generations, and what finding duplicates needs."""
        return Judged(*(self.at(usual.judged(part, name)) for part in PARTS))

    @property
    def similarities(self) -> Path:
        """Folder with NNNNN.npy: how similar every raw generation is to its seed document."""
        return self.at(usual.SIMILARITIES)

    def similarity(self, name: str) -> Path:
        """That of one shard."""
        return self.at(usual.similarity(name))

    def found(self, search: str) -> Path:
        """What one search for duplicates found; removed when all are joined."""
        return self.at(f"synthetic/repeats/found/{search}.npy")

    def repeats(self, name: str) -> Path:
        """Which generations of one shard repeat an earlier one, of it or of the shards before."""
        return self.at(usual.repeats(name))

    def corpus_findings(self, sheet: str) -> Path:
        """Folder of what D has of the texts that a quality sheet compares: KIND-NNNNN-NNNNN.npz, one file per part."""
        return self.at(usual.corpus_findings(sheet))

    def finding(self, sheet: str, name: str) -> Path:
        """That of one part."""
        return self.corpus_findings(sheet) / f"{name}.npz"

    def findings(self, sheet: str) -> list[Path]:
        """Those of all parts."""
        return sorted(self.corpus_findings(sheet).glob("*.npz"))

    def chosen_texts(self, sheet: str) -> Path:
        """Which texts a sheet compares, in a folder of their own while `scan-corpus` runs."""
        return self.corpus_findings(sheet) / "chosen" / "texts.jsonl.zst"

    @property
    def task_items(self) -> Path:
        """The items of lm-eval's tasks, as texts."""
        return self.at("evaluation_items/tasks.jsonl.zst")

    @property
    def more_generations(self) -> Path:
        """How many generations are planned because fewer left too few tokens, and what those left."""
        return self.at(usual.MORE_GENERATIONS)

    def shard_audit(self, name: str) -> Path:
        """What happened to the generations of one shard."""
        return self.at(f"synthetic/audits/{name}.json")

    @property
    def audit_synthetic(self) -> Path:
        return self.at(usual.AUDIT_SYNTHETIC)

    def evaluation(self, name: str) -> Path:
        """JSON of one arm, or `quality`."""
        return self.at(f"evaluation/{name}.json")

    def harness(self, arm: str) -> Path:
        """JSON of what lm-eval measured of an arm."""
        return self.at(f"harness/{arm}.json")

    def answers(self, name: str) -> Path:
        """JSON lines: what a judge behind an endpoint answered for one quality sheet. No stage owns them: they cost
        money, and stay valid whatever is replaced."""
        return self.root / "answers" / f"{self.named(f'evaluation/{name}').replace('/', '.')}.answers.jsonl"

    @property
    def manifests(self) -> Path:
        return self.root / "stages"

    def rejection_audit(self, stage: str) -> Path:
        """What was wrong with a corpus that was refused; no stage owns it."""
        return self.log(stage, "audit").with_suffix(".json")

    def log(self, stage: str, name: str) -> Path:
        """Log file of a process that works on a stage."""
        return self.root / "logs" / stage / f"{name}.log"


def identity_file(pilot: Path) -> Path:
    """Beside a shard of the pilot: what its texts follow from."""
    return pilot.with_name(pilot.name.removesuffix(usual.SHARD) + ".json")


def owns(patterns: tuple[str, ...], relative: str) -> bool:
    """Whether a path below the run folder matches a pattern, or is inside a folder that does."""
    parts = relative.split("/")
    prefixes = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(_matches(prefix, pattern) for pattern in patterns for prefix in prefixes)


def _matches(path: str, pattern: str) -> bool:
    names, globs = path.split("/"), pattern.split("/")
    return len(names) == len(globs) and all(map(fnmatch.fnmatchcase, names, globs))


def label(recipe: Recipe) -> str:
    """Name of the default run folder: the recipe's own folder for FOLDER/recipe.yaml, the file's name for others.

    It follows from the place, so that a copy of an example runs in a folder of its own.
    """
    if recipe.source is None:
        return recipe.name
    source = recipe.source.resolve()
    return source.parent.name or recipe.name if source.stem == "recipe" else source.stem
