"""The admin of runs and workers: importing this package registers its pages and adds a thread's runs beside it."""

from assistants.admin import assistant_versions, suggestions, transcript
from assistants.admin import thread as thread_admin
from runs import tools
from runs.completers import catalogue, providers

from . import mcp_server, price, provider, run, worker  # noqa: F401
from .run import runs_of_thread
from .thread_runs import RunsFilter, work_of
from .versions import use_of_versions

assistant_versions.uses.append(use_of_versions)
thread_admin.beside.append(runs_of_thread)
thread_admin.filters.append(RunsFilter)
transcript.worked.append(work_of)
suggestions.function_sources.append(tools.offered)
suggestions.model_sources.append(providers.models)
suggestions.listed_sources.append(lambda: [model.id for model in catalogue.models()])
