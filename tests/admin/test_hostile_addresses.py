"""No address and no form of the admin is an error of the server's own, whatever stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote as quoted
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.db import transaction
from django.db.models import BooleanField, DateTimeField, DecimalField, Field, IntegerField, Model
from django.test import Client, RequestFactory

from kumos_site.admin import NUL

from .conftest import Talk
from .crawl import everything, pages

NUMBERS = ["9" * 20, "-" + "9" * 20, "9" * 5000, "-1", "NaN", "٣"]
MOMENTS = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30"]
TEXTS = ["", "x", "%ED%A0%80"]
"""The last is half a surrogate pair."""
SEVERAL = ["1,{0}", "1&{name}={0}"]
OF_EVERY_LIST = ("q", "p", "o", "e", "all", "_popup", "_to_field", "_facets", "_changelist_filters")

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def values_for(field: Field[Any, Any]) -> list[str]:
    if isinstance(field, IntegerField | DecimalField | BooleanField):
        return [*NUMBERS, *TEXTS]
    return [*MOMENTS, NUMBERS[0], *TEXTS] if isinstance(field, DateTimeField) else TEXTS


def parameters(model: type[Model]) -> Iterator[tuple[str, list[str]]]:
    """The names that an address of the list may have, and what nobody should put there."""
    filters = [str(getattr(one, "parameter_name", one)) for one in admin.site._registry[model].list_filter]
    for name in (*filters, *OF_EVERY_LIST):
        yield name, [*NUMBERS, *MOMENTS[:1], *TEXTS]
    for field in model._meta.concrete_fields:
        for how in ("", "__in", "__isnull", "__gt", "__range"):
            yield field.name + how, values_for(field)


def queries(name: str, values: list[str]) -> Iterator[str]:
    for value in values:
        yield f"{name}={value if value.startswith('%') else quote(value)}"
    for several in SEVERAL:
        yield f"{name}={several.format(values[0], name=name)}"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_whatever_a_list_is_asked_it_answers(talk: Talk, model: type[Model]) -> None:
    """Without the drawing of the page, which counts the rows already."""
    everything(talk)
    root, page = User.objects.create_superuser("root"), admin.site._registry[model]
    faults, answered = [], 0
    for name, values in parameters(model):
        for query in queries(name, values):
            request = RequestFactory().get(f"/?{query}")
            request.user = root
            try:
                with transaction.atomic():
                    answer: Any = page.changelist_view(request)
                    if answer.status_code == 200 and "cl" in answer.context_data:
                        list(answer.context_data["cl"].result_list)
                        answered += 1
                    transaction.set_rollback(True)  # a query that the database refused has spoilt it
            except SuspiciousOperation:
                break  # this is not asked for by an address, with no value
            except Exception as error:
                faults.append(f"{query[:80]} {error!r:.100}")
    assert faults == []
    assert answered > 10


@pytest.mark.parametrize(
    "address",
    [
        "/admin/runs/run/?version=" + "9" * 5000,
        "/admin/runs/run/all/cancel/?version=" + "9" * 5000,
        "/admin/admin/logentry/?who=99999999999999999999",
        "/admin/admin/logentry/?kind=" + "9" * 5000,
        "/admin/assistants/assistant/?created_at__gt=0001-01-01T00:00:00%2B23:59",
        "/admin/assistants/assistant/?version__gt=" + "9" * 5000,
    ],
)
@pytest.mark.django_db(transaction=True)  # what PostgreSQL refuses would spoil the test's transaction
def test_a_number_or_a_time_that_nothing_holds_finds_nothing(root: Client, talk: Talk, address: str) -> None:
    assert root.get(address, follow=True).status_code == 200


# NUL, which PostgreSQL refuses to look for ----------------------------------------------------------------------------


def test_no_page_looks_for_a_nul(root: Client, talk: Talk) -> None:
    things = everything(talk)
    ids = [quoted(thing.pk) for thing in things.values() if isinstance(thing.pk, str)]
    one = re.compile("|".join(map(re.escape, ids)))
    asked = 0
    for page in pages(things, talk.run):
        broken = one.sub("%00", page.address) if one.search(page.address) else f"{page.address}%00/"
        for answer in (
            root.get(broken),
            root.post(broken, {}),
            root.get(f"{page.address}?{urlencode({'x': chr(0)})}"),
            root.get(f"{page.address}?{urlencode({chr(0): 'x'})}"),
            root.post(page.address, {"x": ["a", "a\0"]}),
            root.post(page.address, {"a\0": "x"}),
        ):
            assert (answer.status_code, answer.content.decode()) == (400, NUL), (page.address, answer.request)
            asked += 1
    assert asked > 500


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("/admin/assistants/assistant/%00/change/", None),
        ("/admin/runs/run/%00/bundle/", None),
        ("/admin/assistants/vectorstore/?project=%00", None),
        ("/admin/assistants/thread/?q=x&project=%00", None),
        ("/admin/assistants/assistant/uploads/?store=%00&project=%00", None),
        ("/admin/assistants/assistant/upload/", {"project": "\0"}),
        ("/admin/assistants/assistant/trial/", {"trial_of": "\0"}),
        ("/admin/runs/provider/test/", {"provider": "\0"}),
    ],
)
def test_a_nul_is_refused_in_words(root: Client, talk: Talk, address: str, sent: dict[str, str] | None) -> None:
    answer = root.get(address) if sent is None else root.post(address, sent)
    assert (answer.status_code, answer.content.decode()) == (400, NUL)


def test_who_is_no_staff_is_told_to_log_in_first(client: Client, db: None) -> None:
    assert client.get("/admin/assistants/assistant/%00/change/").status_code == 302
