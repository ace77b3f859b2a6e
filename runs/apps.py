"""The app as the admin names it."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"
    verbose_name = "Runs"

    def ready(self) -> None:
        from django.core import checks
        from django.utils.module_loading import autodiscover_modules

        from assistants import conversation, shared
        from runs import transitions
        from runs.shared import has_worked
        from runs.tools import python, registry
        from runs.tools.file_search import FileSearch

        registry["file_search"] = FileSearch()
        autodiscover_modules("tools")
        checks.register(python.faults)
        conversation.end_overdue.append(transitions.end_overdue)
        conversation.end_with_threads.append(transitions.end_with_threads)
        shared.have_worked.append(has_worked)
