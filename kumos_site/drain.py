"""Whether this process was asked to stop. Readiness says so, that nobody sends it anything new."""

from __future__ import annotations

import threading

begun = threading.Event()

ANSWER_SECONDS = 2.0
"""How long a stop waits for requests that do not stream."""
