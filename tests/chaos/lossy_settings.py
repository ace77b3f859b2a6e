"""Kumos's settings with a channel layer that loses, doubles, delays and swaps (tests/lossy.py), for F21 and F24.

Servers are started with `DJANGO_SETTINGS_MODULE` naming this module, and with CHAOS_DROP, CHAOS_DOUBLE, CHAOS_DELAY.
"""

from __future__ import annotations

import os

from kumos_site.settings import *  # noqa: F403  # all of Kumos's own
from kumos_site.settings import CHANNEL_LAYERS, REDIS_URL

_bad = {name: float(os.environ[f"CHAOS_{name.upper()}"]) for name in ("drop", "double", "delay")}
CHANNEL_LAYERS["default"]["BACKEND"] = f"tests.lossy.Lossy{'Redis' if REDIS_URL else ''}ChannelLayer"
CHANNEL_LAYERS["default"]["CONFIG"] |= {**_bad, "late_seconds": 0.5}
