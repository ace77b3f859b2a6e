"""Where everything is: /v1 (the API), /chat/ (the page), /admin/, /login/ (the one-time link), /health/, /metrics."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from assistants.errors import SERVER_FAULT, ApiError, error_response, unknown_url
from assistants.headers import is_api
from kumos_site import login
from kumos_site.chat.shared import shared
from kumos_site.openapi.views import DocumentViewSet

urlpatterns = [
    # `runs/stream` before `runs/{run_id}`, and `threads/runs` before `threads/{thread_id}`.
    path("v1/openapi.json", DocumentViewSet.as_view({"get": "retrieve"})),
    path("v1/", include("streaming.urls")),
    path("v1/", include("runs.urls")),
    path("v1/", include("assistants.urls")),
    path("chat/", include("kumos_site.chat.urls")),
    path("shared/", shared, name="shared"),
    path("admin/", admin.site.urls),
    path("login/<str:uid>/<str:token>/", login.one_time, name="one-time-login"),
    path("", include("kumos_site.probes")),
    path("favicon.ico", RedirectView.as_view(url=static("chat/icon.svg"))),
    path("", RedirectView.as_view(url="/chat/")),
]


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request.path):
        return error_response(unknown_url(request), request)
    return HttpResponse("There is no such page.", status=404, content_type="text/plain")


def server_error(request: HttpRequest) -> HttpResponse:
    if is_api(request.path):
        return error_response(ApiError(SERVER_FAULT, status=500, type="server_error"), request)
    return HttpResponse("Something went wrong.", status=500, content_type="text/plain")


handler404 = page_not_found
handler500 = server_error
