"""Seeded sequences of faults against a whole run: what a user, a disk or a cluster can do to it.

A sequence works on a run folder of its own. Its steps are drawn from OPERATIONS by a seeded generator; after each of
them the invariants are checked, and at the end the run must come out as an undisturbed one:

- the user's files (recipe, corpus, and a file that was put into the run folder) are as they were;
- 60 seconds after a fault no process of the run is left;
- no command ends with a traceback;
- the last command ends with status 0 and the bytes of an undisturbed run. Where it refuses because something is
  damaged, it names an existing file and the option that helps; with that option it must come to the same end.

As a program it runs any number of sequences: `bash scripts/chaos.sh /scratch/chaos --sequences 200`.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
from support.fault_sequences import Broken, parser, run_sequences
from support.watched_sequence import WatchedSequence, words_of
from support.whole_program import DETERMINED, RECIPE, digests, run_sbp

from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages

STAGES = [stage.name for stage in all_stages(load_recipe(RECIPE))]
SAME = (*DETERMINED, "export/*/model.safetensors")
"""What must be the same bytes at the end: on CPU even the trained weights."""
CHANGES = (
    "seed=4", "documents.train=150", "tokenizer.vocab_size=580", "embedding.max_tokens=24", "neighbors.k=8",
    "pairs.alpha=0.4", "pairs.alpha=0.999", "tuning.learning_rate=2e-3", "training.learning_rate=1e-3",
    "training.micro_batch_size=2", "synthesis.temperature=0.9", "filter.min_tokens=5", "embedding.model=someone/none",
    "documents.text_field=txt", "launch.workers=1", "synthesis.tokens=7000",
)  # fmt: skip
"""Values that are changed for one command; two of them cannot work."""
TRAINED = {"train-baseline": "baseline", "tune": "synthesizer", "train-sbp": "sbp", "train-oracle": "oracle"}


class Sequence(WatchedSequence):
    """One sequence of faults.

    Args:
        seed: of everything that is drawn.
        folder: a new folder; the run is FOLDER/run, the user's files are in FOLDER/user.
        finished: run folder of an undisturbed run, to begin with and to compare with.
    """

    def __init__(self, seed: int, folder: Path, finished: Path):
        super().__init__(seed, folder)
        self.finished, user = finished, folder / "user"
        user.mkdir(parents=True)
        corpus = RECIPE.parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"
        shutil.copy(corpus, user / corpus.name)
        text = RECIPE.read_text().replace("../../examples/quickstart/", "")
        if seed % 2 == 0:  # the number of workers changes no byte
            assert "workers: 2" in text
            text = text.replace("workers: 2", "workers: 1")
        self.recipe.write_text(text)

    # -- the whole sequence --------------------------------------------------------------------------------------------

    def go(self, steps: int) -> None:
        self._start()
        mine = self.run / "documents" / "notes-of-the-user.txt"
        mine.write_text("mine")
        before = self._users()
        for _ in range(steps):
            name = self._operate(OPERATIONS)
            if self._users() != before:
                raise Broken(f"the user's files changed after {name}")
        self._end()
        if self._users() != before:
            raise Broken("the user's files changed at the end")
        texts = [path.read_text() for path in self.run.rglob("notes-of-the-user.txt")]
        if texts != ["mine"]:
            raise Broken(f"the user's file in the run folder: {texts}")
        wrong = _differing(digests(self.finished, SAME), digests(self.run, SAME))
        if wrong:
            raise Broken(f"other bytes than an undisturbed run: {wrong}")
        found = [path for path in self.run.rglob("*.partial*") if "aside" not in path.parts]
        if found:
            raise Broken(f"temporary files are left: {found}")

    def _start(self) -> None:
        """Begins with a finished run, or with part of one, or with nothing."""
        if self.random.random() < 0.15:
            self._sbp("run", "--until", "documents")
            return
        shutil.copytree(self.finished, self.run)
        marker = json.loads((self.run / "sbp-run.json").read_text())
        (self.run / "sbp-run.json").write_text(json.dumps({**marker, "recipe": str(self.recipe)}))
        for stage in self.random.sample(STAGES, self.random.randint(0, 3)):
            (self.run / "stages" / f"{stage}.json").unlink(missing_ok=True)

    def _end(self) -> None:
        """Runs undisturbed; follows what refusals advise."""
        options: list[str] = []
        for _ in range(12):
            status, printed = self._sbp("run", *options)
            if status == 0:
                return
            named = re.search(r"--(discard|repair) ([a-z-]+)", printed)
            removable = re.search(r"(\S+sbp-run\.json): .*remove it", printed)
            writable = re.search(r"(\S+sbp-run\.json): .*write (\{.*\}) into it", printed)
            movable = re.search(r"move (\S+) away to train again", printed)
            if removable:
                Path(removable.group(1)).unlink()
            elif writable:
                Path(writable.group(1)).write_text(writable.group(2))
            elif movable:
                Path(movable.group(1)).rename(self.folder / f"moved-{len(self.asked)}")
            elif named:
                options += [f"--{named.group(1)}", named.group(2)]
            else:
                raise Broken(f"status {status} and no way on: {printed[-1500:]}")
            self.asked.append(printed.strip().splitlines()[-1][:300])
        raise Broken(f"no end in sight: {self.asked}")

    # -- operations ----------------------------------------------------------------------------------------------------

    def run_on(self) -> None:
        """Runs some way, undisturbed."""
        self._sbp("run", "--until", self.random.choice(STAGES))

    def kill(self) -> None:
        """Kills one process of the tree, sometimes all of them."""
        self._make_work()
        process = self._popen("run", "--until", self.random.choice(STAGES[7:]))
        self._wait_for_work(process)
        tree = self._tree(process)
        victims = tree if self.random.random() < 0.2 else self.random.sample(tree, min(1, len(tree)))
        for victim in victims:
            self._say(f"SIGKILL {words_of(victim)}")
            with contextlib.suppress(psutil.Error):
                victim.kill()
        self._await_end(process, tree)

    def ask_to_stop(self) -> None:
        """SIGTERM, SIGINT or SIGHUP to the process that the user started."""
        number = self.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        self._make_work()
        process = self._popen("run", "--until", self.random.choice(STAGES[7:]))
        self._wait_for_work(process)
        tree = self._tree(process)
        self._say(f"{number.name} to the run")
        process.send_signal(number)
        self._await_end(process, tree)

    def stop_file(self) -> None:
        """`touch RUN/stop`: all that works stops, nothing starts, until the file is removed."""
        self._make_work()
        process = self._popen("run", "--until", self.random.choice(STAGES[7:]))
        self._wait_for_work(process)
        tree = self._tree(process)
        file = self.run / "stop"
        file.touch()
        self._await_end(process, tree)
        status, printed = self._sbp("run")
        if status != 5 or "stop is there" not in printed:
            raise Broken(f"status {status} while RUN/stop is there")
        file.unlink()

    def truncate(self) -> None:
        """Cuts a random file of the run folder."""
        file = self._file()
        if file is not None:
            self._say(f"cut {file.relative_to(self.run)}")
            with open(file, "r+b") as handle:
                handle.truncate(self.random.randrange(max(1, file.stat().st_size)))
            self._run_some()

    def flip(self) -> None:
        """Changes a byte in a random file of the run folder."""
        file = self._file()
        if file is not None and file.stat().st_size:
            place = self.random.randrange(file.stat().st_size)
            self._say(f"flip byte {place} of {file.relative_to(self.run)}")
            with open(file, "r+b") as handle:
                handle.seek(place)
                byte = handle.read(1)[0]
                handle.seek(place)
                handle.write(bytes([byte ^ (1 << self.random.randrange(8))]))
            self._run_some()

    def remove(self) -> None:
        """Removes a random file of the run folder."""
        file = self._file()
        if file is not None:
            self._say(f"remove {file.relative_to(self.run)}")
            file.unlink()
            self._run_some()

    def change(self) -> None:
        """Runs some way with another value, then goes back."""
        self._sbp("run", self.random.choice(CHANGES), "--until", self.random.choice(STAGES))

    def second(self) -> None:
        """Starts a second run beside the first one."""
        self._make_work()
        processes = []
        for _ in range(2):
            processes.append(self._popen("run", "--until", self.random.choice(STAGES)))
            time.sleep(self.random.uniform(0, 2))
        for process in processes:
            process.wait(timeout=900)

    def unlock(self) -> None:
        """Removes lock files while a run is at work."""
        self._make_work()
        process = self._popen("run", "--until", self.random.choice(STAGES))
        self._wait_for_work(process)
        for lock in self.run.rglob("*.lock"):
            if self.random.random() < 0.5:
                lock.unlink(missing_ok=True)
        second = self._popen("run", "--until", self.random.choice(STAGES))
        process.wait(timeout=900)
        second.wait(timeout=900)

    def full_disk(self) -> None:
        """Runs with little or no room left, by a limit on the size of files that the run may write."""
        self._make_work()
        limit = self.random.choice([0, 4096, 65_536, 1 << 20])
        command = f"ulimit -f {limit // 1024}; exec " + " ".join(map(str, self._command("run", "--until", "evaluate")))
        self._say(f"files of at most {limit} bytes")
        self._check(subprocess.run(["bash", "-c", command], **self._output(), timeout=900).returncode)

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _file(self) -> Path | None:
        files = [
            path
            for path in sorted(self.run.rglob("*"))
            if path.is_file() and not path.is_symlink() and path.name != "notes-of-the-user.txt"
            and path.relative_to(self.run).parts[0] not in ("aside", "logs")
        ]  # fmt: skip
        # Every stage counts the same, whatever the number of its files.
        folders = sorted({path.relative_to(self.run).parts[0] for path in files})
        if not folders:
            return None
        chosen = self.random.choice(folders)
        return self.random.choice([path for path in files if path.relative_to(self.run).parts[0] == chosen])

    def _run_some(self) -> None:
        if self.random.random() < 0.5:
            self._sbp("run", "--until", self.random.choice(STAGES))

    def _users(self) -> dict[str, str]:
        return digests(self.folder / "user", ("**/*",))

    def _make_work(self) -> None:
        """Removes the manifests of a stage or two, and sometimes outputs: a finished run would have nothing to do."""
        if not (self.run / "stages").is_dir():
            return
        for stage in self.random.sample(STAGES[:-1], self.random.randint(1, 2)):
            self._say(f"forget {stage}")
            (self.run / "stages" / f"{stage}.json").unlink(missing_ok=True)
            shutil.rmtree(self.run / "stages" / stage, ignore_errors=True)
            trained = TRAINED.get(stage)
            if trained and (self.run / "models" / trained).exists() and self.random.random() < 0.5:
                shutil.rmtree(self.run / "models" / trained)


OPERATIONS = {
    "run_on": 1,
    "kill": 4,
    "ask_to_stop": 2,
    "stop_file": 1,
    "truncate": 2,
    "flip": 2,
    "remove": 2,
    "change": 3,
    "second": 1,
    "unlock": 1,
    "full_disk": 2,
}
"""What a step can be, with its weight."""


def _differing(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[:10]


def main() -> int:
    options = parser(__doc__, sequences=100, steps=6).parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    finished = options.folder / "undisturbed"
    if not (finished / "results.json").exists():
        run_sbp("run", RECIPE, f"run_folder={finished}")
    return run_sequences(options, lambda seed, folder: Sequence(seed, folder, finished))


if __name__ == "__main__":
    raise SystemExit(main())
