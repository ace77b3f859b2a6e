"""Addresses of the chat page, included at /chat/: the empty page, one per thread, and the frame beside a form."""

from __future__ import annotations

from django.urls import path

from kumos_site.chat.views import shell, trial

app_name = "chat"
urlpatterns = [
    path("", shell, name="home"),
    path("trial/", trial, name="trial"),
    path("<str:thread_id>", shell, name="thread"),
]
