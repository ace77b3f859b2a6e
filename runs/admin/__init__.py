"""The admin of runs and workers: importing this package registers its pages and adds a thread's runs beside it."""

from assistants.admin import suggestions
from assistants.admin import thread as thread_admin

from . import run, worker  # noqa: F401
from .model import known_models
from .run import runs_of_thread

thread_admin.beside.append(runs_of_thread)
suggestions.model_sources.append(known_models)
