"""File names in a training's folder (models/NAME, or another pipeline's folder); see `checkpoint.tracker` for
checkpoints."""

from __future__ import annotations

DATA = "data.json"
"""Its datasets and the number of samples of each: `data.data_file`. Written before the first start."""
BLEND_LOCK = "blend.lock.json"
"""The same with digests, at the time of the first start."""
PRECISION, SETTINGS = "precision.txt", "settings.json"
"""Its original settings, for comparison at later starts: `resume`."""
STARTED_FROM = "start.json"
"""The initial checkpoint of a tuning: `checkpoint.initial_weights`."""
CACHE = "cache"
"""Folder of sample orders and packings during training."""
METRICS = "metrics.jsonl"
"""Losses and rates: `metrics`."""
COUNTS = "consumed"
"""Folder with the ranks' records of samples per step: `consumption`."""
STOPPED = "stopped.txt"
"""Stop reason; exists only after the end."""
CONSUMED = "consumed.json"
"""Samples consumed, compared with the plan: `finalize`. Written last."""
