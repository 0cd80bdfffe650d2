"""SIGKILL at random instants, then the same command: the same bytes, and nothing left running."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time

import pytest
from whole_program import RECIPE, digests, environment, run_sbp, sbp

pytestmark = pytest.mark.timeout(1800)

KILLS = 10


def processes_of(folder) -> list[str]:
    """Command lines of running processes that name the run folder."""
    listing = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(folder) in line and " Z" not in line]


def kill_after(folder, log, stage: int, delay: float) -> int:
    """Starts the run and kills the one process that the user started, `delay` seconds after it began to work on stage
    number `stage` or a later one. Returns the stage that was hit, 0 when the run ended before."""
    with open(log, "w+") as output:
        process = subprocess.Popen(
            sbp("run", RECIPE, f"run_folder={folder}"), env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            begun = [
                int(n) for n, rest in re.findall(r"\[(\d+)/18\] \S+: (.*)", log.read_text()) if "before" not in rest
            ]
            if begun and begun[-1] >= stage:
                time.sleep(delay)
                break
            time.sleep(0.02)
        if process.poll() is not None:
            assert process.returncode == 0, log.read_text()[-3000:]
            return 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = [int(number) for number, _ in re.findall(r"\[(\d+)/18\] (\S+): ", log.read_text())]
    return begun[-1]


def test_killed_at_ten_random_instants(whole_run, tmp_path):
    folder = tmp_path / "run"
    rng = random.Random(20250915)
    plan = sorted(rng.sample(range(1, 18), KILLS))
    hit = []
    for stage in plan:
        hit.append(kill_after(folder, tmp_path / "log", stage, rng.uniform(0.0, 6.0)))
        deadline = time.monotonic() + 5
        while processes_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not processes_of(folder)
    assert sum(1 for stage in hit if stage) >= KILLS - 2, hit
    run_sbp("run", RECIPE, f"run_folder={folder}")
    assert digests(folder) == digests(whole_run[0])
    # On CPU even the trained weights are the same bytes.
    assert digests(folder, ("export/*/model.safetensors",)) == digests(whole_run[0], ("export/*/model.safetensors",))
