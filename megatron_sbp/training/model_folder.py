"""What the files in the folder of a training are called (models/NAME, or that of another pipeline); its checkpoints are
those of `checkpoint.tracker`."""

from __future__ import annotations

DATA = "data.json"
"""Which datasets it reads, and how many samples of each: `data.data_file`. Written before the first start."""
BLEND_LOCK = "blend.lock.json"
"""The same with digests, as the first start saw it."""
PRECISION, SETTINGS = "precision.txt", "settings.json"
"""What it began with, for later starts to compare: `resume`."""
STARTED_FROM = "start.json"
"""What a tuning was initialized from: `checkpoint.start`."""
CACHE = "cache"
"""Folder of orders and packings while it runs."""
METRICS = "metrics.jsonl"
"""Losses and rates: `metrics`."""
COUNTS = "consumed"
"""Folder where ranks record the samples of every step: `consumption`."""
STOPPED = "stopped.txt"
"""Why it ended; there only when it has."""
CONSUMED = "consumed.json"
"""What it consumed, compared with the plan: `finalize`. Written last."""
