"""A process whose shell lets it open few files."""

from __future__ import annotations

import resource
import subprocess
import sys

PROGRAM = """
import contextlib, resource, sys
from megatron_sbp.base.open_files import allow_many
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
print(allow_many(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
with contextlib.ExitStack() as stack:
    print(len([stack.enter_context(open("/dev/null")) for _ in range(100)]))
"""


def test_it_may_open_as_many_as_its_system_allows():
    done = subprocess.run([sys.executable, "-c", PROGRAM, "300"], capture_output=True, text=True)
    assert done.stdout.split() == ["300", "300", "100"], done.stderr


def test_a_higher_limit_stays():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = "from megatron_sbp.base.open_files import allow_many; print(allow_many())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= before[0] or before[0] == resource.RLIM_INFINITY
