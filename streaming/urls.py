"""The stream endpoints' addresses, below /v1. `runs/stream` must come before `runs/{run_id}` (contract 3.10).

`threads/runs/stream` stands beside `threads/runs`, which has no id either, and clashes with nothing: no address of a
thread is `threads/{thread_id}/stream`.
"""

from django.urls import path

from streaming import views

urlpatterns = [
    path("threads/runs/stream", views.threads_stream),
    path("threads/<str:thread_id>/runs/stream", views.thread_stream),
    path("threads/<str:thread_id>/runs/<str:run_id>/stream", views.run_stream),
]
