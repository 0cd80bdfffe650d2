"""Fixtures shared by all tests. Nothing here reaches the network."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import HealthCheck, settings

pytest_plugins = ("support.mined_run", "support.synthesis_run")
# Under nohup, in a background job or a CI without a terminal they are ignored, and every process of the tests would
# inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=100, suppress_health_check=_QUIET)
settings.register_profile("search", deadline=None, max_examples=2000, suppress_health_check=_QUIET)
settings.load_profile("repeatable")
