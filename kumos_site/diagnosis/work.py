"""Providers, runners and the queue: whether runs are worked on, and whether somebody answers them."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from assistants.clock import shared_now
from assistants.models import Project
from kumos_site.diagnosis import Check, Finding, Level
from kumos_site.metrics import beating_workers, oldest_queued
from runs.admin.provider import users_of
from runs.admin.worker import stuck_runs
from runs.completers import CompleterError, catalogue, providers
from runs.completers.providers import Server
from runs.models import Provider, Worker

QUEUE_SECONDS = 60.0
PROJECTS_READ = 50
STUCK_COUNTED = 100


def model_servers() -> Iterator[Finding]:
    """Whether each can be reached and takes its key. Asks them, if nobody did within a minute."""
    found = catalogue.asked()
    for server, listing in found:
        subject = f"Provider {server.name}"
        if server.problem:
            told = f"It cannot be used: {server.problem}"
            fix = f"Open “{server.name}” under Providers in the admin and enter its key again."
            yield Finding(f"provider.{server.name}.key", Level.BROKEN, subject, told, fix)
        elif listing.problem:
            level = Level.BROKEN if listing.away else Level.WARNING
            fix = place_of(server) if listing.away else "Nothing, if runs with its models work."
            yield Finding(f"provider.{server.name}", level, subject, listing.problem, fix)
        else:
            told = f"It answers in {listing.seconds:.2f} s and lists {len(listing.models or ()):,} models."
            yield Finding(f"provider.{server.name}", Level.OK, subject, told)
    if not found:
        told = "No model server is set: only the model that is built in answers, and all others are refused."
        fix = "Add a provider in the admin, or set OPENAI_BASE_URL, OPENAI_API_KEY or OLLAMA_BASE_URL."
        yield Finding("providers.none", Level.WARNING, "Providers", told, fix)


def place_of(server: Server) -> str:
    setting = {"openai": "OPENAI_BASE_URL and OPENAI_API_KEY", "ollama": "OLLAMA_BASE_URL"}
    if not server.prefix or server.name in {given.name for given in providers.of_settings()}:
        return f"Start it, or correct {setting[server.name]}."
    return f"Start it, or correct base URL and key of “{server.name}” under Providers in the admin, and test it there."


def own_address() -> Iterator[Finding]:
    for server in providers.servers():
        if providers.points_at_self(server.base_url, settings.HOST, settings.PORT):
            told = f"{server.base_url} is this Kumos itself: every run there would start another, for ever."
            yield Finding(
                f"provider.{server.name}.self", Level.BROKEN, f"Provider {server.name}", told, place_of(server)
            )


def switched_off() -> Iterator[Finding]:
    """Those that are off but used, and those behind a name of the settings."""
    given = {server.name for server in providers.of_settings()}
    for provider in Provider.objects.order_by("name"):
        subject = f"Provider {provider.name}"
        if provider.name in given:
            told = f"The settings have a server of this name, too: “{provider.name}/…” leads there."
            yield Finding(
                f"provider.{provider.name}.shadowed", Level.WARNING, subject, told, "Delete it, or unset the setting."
            )
        elif not provider.enabled and (users := users_of(provider.name)):
            told = f"It is switched off, and used by {users}: their runs fail."
            fix = "Switch it on, or give them another model."
            yield Finding(f"provider.{provider.name}.off", Level.WARNING, subject, told, fix)


def default_models() -> Iterator[Finding]:
    """Whether somebody answers where no model is named."""
    chosen = Project.objects.exclude(default_model="").values_list("pk", "name", "default_model")[:PROJECTS_READ]
    asked = [("", "KUMOS_DEFAULT_MODEL", settings.KUMOS_DEFAULT_MODEL), *chosen]
    bad = 0
    for project_id, name, model in asked:
        try:
            providers.completer_for(providers.DEFAULT, project_id)
        except CompleterError as error:
            bad += 1
            place = f"of the project “{name}”" if project_id else f"({name})"
            told = f"The default model {place}, “{model}”, is answered by nobody: {error.message}"
            fix = "Change it on the project's page." if project_id else "Set another KUMOS_DEFAULT_MODEL and restart."
            yield Finding("default_model", Level.BROKEN, "Default model", told, fix)
    if not bad:
        yield Finding("default_model", Level.OK, "Default model", f"“{settings.KUMOS_DEFAULT_MODEL}” is answered.")


def runners() -> Iterator[Finding]:
    alive = beating_workers().count()
    resting = Worker.objects.filter(drain_asked=True, slots__gt=0).count()
    oldest = oldest_queued().values_list("created_at", flat=True).first()
    if alive:
        told = f"{alive} take{'s' if alive == 1 else ''} runs{f', {resting} drained' if resting else ''}."
        yield Finding("runners", Level.OK, "Runners", told)
    else:
        level = Level.BROKEN if oldest else Level.WARNING
        told = f"None takes runs{': all are drained' if resting else ''}. Runs are accepted, and wait."
        fix = "Undrain one under Runners." if resting else "Start `manage.py serve`, or `manage.py runworker`."
        yield Finding("runners.none", level, "Runners", told, fix)
    age = (shared_now() - oldest).total_seconds() if oldest else 0.0
    if age > QUEUE_SECONDS:
        told = f"The oldest run has waited for {age:,.0f} s; after {settings.KUMOS_RUN_SECONDS:g} it expires."
        level = Level.BROKEN if age > settings.KUMOS_RUN_SECONDS / 2 else Level.WARNING
        yield Finding("queue", level, "Queue", told, "More runners, or more KUMOS_RUN_SLOTS. See Runners.")
    else:
        yield Finding("queue", Level.OK, "Queue", "Nothing waits for long.")


def stuck() -> Iterator[Finding]:
    count = stuck_runs(shared_now()).values("pk")[:STUCK_COUNTED].count()
    if count:
        more = " or more" if count == STUCK_COUNTED else ""
        told = f"{count}{more} run{'s' if count > 1 else ''} hang: their runner is silent, and nobody took them over."
        yield Finding("runs.stuck", Level.BROKEN, "Stuck runs", told, "Start a runner: it takes them over at once.")


CHECKS: list[Check] = [model_servers, own_address, switched_off, default_models, runners, stuck]
