"""How many files the process may open."""

from __future__ import annotations

import resource
import subprocess
import sys

from kumos_site.descriptors import OTHERS, shortage
from tests.process import ROOT

CHILD = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
from kumos_site.descriptors import allow_all
print(allow_all(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_as_far_as_the_system_lets_it() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["512", "512", "512"]


def test_streams_that_cannot_all_be_open_are_told() -> None:
    assert "KUMOS_STREAMS_MAX=2000" in shortage(2000, 1024)
    assert shortage(2000, 2000 + OTHERS) == ""
    assert shortage(2000, resource.RLIM_INFINITY) == ""
