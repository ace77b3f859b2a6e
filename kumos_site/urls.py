"""Where everything is: /v1 (the API), /chat/ (the page), /admin/, /health/."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
]
