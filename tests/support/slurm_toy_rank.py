"""One rank of the toy training: counts steps, saves on SIGTERM and exits with 3, and continues from there next time."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

folder, steps = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
rank = os.environ["RANK"]
checkpoint = folder / f"{rank}.checkpoint"
asked: list[int] = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
begin = step = int(checkpoint.read_text()) if checkpoint.exists() else 0
(folder / f"{rank}.started").write_text(str(begin))
while step < steps:
    time.sleep(0.1)
    step += 1
    if asked:
        time.sleep(1 + 2 * (rank == "3"))  # a checkpoint takes a while, and not all ranks are through at the same time
        checkpoint.write_text(str(step))
        sys.exit(3)
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
seen = {name: os.environ[name] for name in names}
(folder / f"{rank}.json").write_text(json.dumps({**seen, "begin": begin, "node": os.environ["SLURMD_NODENAME"]}))
