"""Addresses of the chat page, included at /chat/: the empty page, and one per thread."""

from __future__ import annotations

from django.urls import path

from kumos_site.chat.views import shell

app_name = "chat"
urlpatterns = [
    path("", shell, name="home"),
    path("<str:thread_id>", shell, name="thread"),
]
