"""The admin of the resources: importing this package registers every page (Django's autodiscovery does that)."""

from . import assistant, file, key, project, thread  # noqa: F401
