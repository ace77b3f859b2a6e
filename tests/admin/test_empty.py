"""Lists without rows: each says what to do next, and can tell that from a search that found nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from assistants.admin import markup
from assistants.admin.lists import BoundedAdmin
from assistants.models import Assistant, File, Project, Thread

OURS = [model for model, page in admin.site._registry.items() if isinstance(page, BoundedAdmin)]


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.model_name)
def test_each_list_has_a_hint(root: Client, model: type[File]) -> None:
    page = root.get(markup.list_of(model)).content.decode()
    empty = re.search('<section class="kumos-empty".*?</section>|<div class="kumos-next">.*?</div>', page, re.DOTALL)
    assert empty, "it says nothing"
    said = re.sub(r"<[^>]*>|No [^.]* here yet\.|\s", "", empty[0])
    assert len(said) > 40


def test_an_empty_list_says_what_to_do_and_has_a_button(root: Client, dragons: Project) -> None:
    page = root.get(markup.list_of(Assistant)).content.decode()
    assert "No assistants here yet." in page
    assert "curl http://testserver/v1/assistants" in page
    assert f'class="button" href="{reverse("admin:assistants_assistant_add")}"' in page


def test_who_may_not_add_sees_no_button(staff: Callable[..., Client], dragons: Project) -> None:
    page = staff("view_assistant").get(markup.list_of(Assistant)).content.decode()
    assert "No assistants here yet." in page
    assert 'class="button" href' not in page


def test_what_matches_nothing_is_no_empty_list(root: Client, dragons: Project) -> None:
    page = root.get(markup.list_of(Thread, q="thread_<b>")).content.decode()
    assert "Nothing matches." in page
    assert "thread_&lt;b&gt;" in page
    assert "No threads here yet" not in page


def test_a_list_with_rows_has_no_hint(root: Client, dragons: Project) -> None:
    Assistant.objects.create(project=dragons, model="scripted", name="Somebody")
    page = root.get(markup.list_of(Assistant)).content.decode()
    assert "Somebody" in page
    assert "kumos-empty" not in page
