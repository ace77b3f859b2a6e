"""The addresses of runs, steps and models, below /v1 (contract 2.1)."""

from django.urls import path

from runs.views import ModelViewSet, RunViewSet

RUN = "threads/<str:thread_id>/runs/<str:run_id>"

urlpatterns = [
    path("threads/runs", RunViewSet.as_view({"post": "create_with_thread"})),
    path("threads/<str:thread_id>/runs", RunViewSet.as_view({"get": "list", "post": "create"})),
    path(RUN, RunViewSet.as_view({"get": "retrieve", "post": "modify"})),
    path(f"{RUN}/cancel", RunViewSet.as_view({"post": "cancel"})),
    path(f"{RUN}/submit_tool_outputs", RunViewSet.as_view({"post": "submit_tool_outputs"})),
    path(f"{RUN}/steps", RunViewSet.as_view({"get": "steps"})),
    path(f"{RUN}/steps/<str:step_id>", RunViewSet.as_view({"get": "step"})),
    path("models", ModelViewSet.as_view({"get": "list"})),
    path("models/<path:model>", ModelViewSet.as_view({"get": "retrieve"})),
]
