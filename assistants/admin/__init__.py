"""The admin of the resources: importing this package registers every page (Django's autodiscovery does that)."""

from . import assistant, audit_log, file, key, project, share, thread, vector_store  # noqa: F401
