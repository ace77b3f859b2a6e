"""Measurements: ratios between two things done side by side in one run, printed, never asserted in a test.

The figures stand in docs/admin.md, docs/chat.md and docs/reliability.md.

`python -m bench.NAME`. They start servers as the tests do, whose modules read Django's settings.
"""

import os
import tempfile

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kumos_site.settings")
os.environ.setdefault("KUMOS_DATA_DIR", tempfile.mkdtemp(prefix="kumos-bench-"))
django.setup()
