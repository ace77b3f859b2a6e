#!/usr/bin/env python
"""Django's command line for Kumos: `serve`, `runworker`, `demo`, `createkey`, `migrate` and Django's own."""

import os
import sys

if sys.version_info < (3, 12):  # noqa: UP036  # said to whoever calls it with an older one
    sys.exit(f"Kumos needs Python 3.12 or newer; this is {sys.version.split()[0]}. `make serve` finds or fetches one.")

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kumos_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # a bad setting is the operator's to fix: a line, not a traceback
        sys.exit(f"Kumos cannot start: {error}")
