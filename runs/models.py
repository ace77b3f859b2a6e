"""Runs and their steps (contract 2.8, 2.9, 2.13). The status column is the truth; `transitions.py` alone moves it.

Beside them who works on runs, what answers them, and what they cost.
"""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from assistants import clock, ids
from assistants.models import Project, Thread
from assistants.models.assistant import auto


class RunStatus(models.TextChoices):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    EXPIRED = "expired"


ACTIVE = (RunStatus.QUEUED, RunStatus.IN_PROGRESS, RunStatus.REQUIRES_ACTION, RunStatus.CANCELLING)
HELD = (RunStatus.IN_PROGRESS, RunStatus.CANCELLING)
"""Statuses in which a worker may hold a lease."""
TERMINAL = (
    RunStatus.CANCELLED,
    RunStatus.FAILED,
    RunStatus.COMPLETED,
    RunStatus.INCOMPLETE,
    RunStatus.EXPIRED,
)


class StepType(models.TextChoices):
    MESSAGE_CREATION = "message_creation"
    TOOL_CALLS = "tool_calls"


class StepStatus(models.TextChoices):
    IN_PROGRESS = "in_progress"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"


class Run(models.Model):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_run_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="runs", db_index=False)
    thread = models.ForeignKey(Thread, models.CASCADE, related_name="runs")
    assistant_id = models.CharField(max_length=64)  # a plain id: runs outlive their assistant
    status = models.CharField(max_length=16, choices=RunStatus.choices, default=RunStatus.QUEUED)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    # What was asked for: assistant and overrides, as they were when the run was made.
    model = models.CharField(max_length=256)
    instructions = models.TextField(null=True, blank=True)  # noqa: DJ001 (null on the wire)
    tools = models.JSONField(default=list, blank=True)
    tool_resources = models.JSONField(default=dict, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    temperature = models.FloatField(default=1.0)
    top_p = models.FloatField(default=1.0)
    response_format = models.JSONField(default=auto, blank=True)
    tool_choice = models.JSONField(default=auto, blank=True)
    truncation_strategy = models.JSONField(default=dict, blank=True)
    parallel_tool_calls = models.BooleanField(default=True)
    max_prompt_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_completion_tokens = models.PositiveIntegerField(null=True, blank=True)
    reasoning_effort = models.CharField(max_length=16, null=True, blank=True)  # noqa: DJ001
    include = models.JSONField(default=list, blank=True)

    # Where it comes from.
    assistant_version = models.PositiveIntegerField(null=True, blank=True, editable=False)
    made_by = models.CharField(max_length=64, blank=True, default="", editable=False)
    """The id of an API key, or "user 7"."""
    request_id = models.CharField(max_length=64, blank=True, default="", editable=False)
    """The x-request-id of the answer that told its client of it."""
    retry_of = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001 (null: of none)

    # What came of it.
    required_action = models.JSONField(null=True, blank=True)
    last_error = models.JSONField(null=True, blank=True)
    incomplete_reason = models.CharField(max_length=32, blank=True, default="")
    usage = models.JSONField(null=True, blank=True)
    expires_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True, editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    # Who works on it (design, section 4).
    epoch = models.PositiveIntegerField(default=0, editable=False)
    worker_id = models.CharField(max_length=64, blank=True, default="", editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    crash_attempts = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["thread"], condition=Q(status__in=ACTIVE), name="one_active_run_per_thread")
        ]
        indexes = [
            models.Index(fields=["thread", "created_at", "id"]),
            models.Index(fields=["project", "created_at", "id"], name="run_of_project"),
            models.Index(fields=["assistant_id", "created_at", "id"], name="run_of_assistant"),
            models.Index(fields=["status", "project", "created_at", "id"]),
            models.Index(fields=["status", "created_at", "id"]),  # the admin's list of one status
            models.Index(fields=["status", "lease_until"]),
            models.Index(fields=["status", "expires_at"]),
            models.Index(fields=["created_at", "id"]),
            models.Index(fields=["request_id"], condition=~Q(request_id=""), name="run_request"),
            models.Index(fields=["retry_of"], condition=Q(retry_of__isnull=False), name="run_retry"),
        ]

    def __str__(self) -> str:
        return self.id


class RunStep(models.Model):
    id = models.CharField(primary_key=True, max_length=64, default=ids.new_step_id, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="steps")
    thread_id = models.CharField(max_length=64)
    assistant_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    type = models.CharField(max_length=32, choices=StepType.choices)
    status = models.CharField(max_length=16, choices=StepStatus.choices, default=StepStatus.IN_PROGRESS)
    step_details = models.JSONField(default=dict)
    call_arguments = models.JSONField(
        default=dict, blank=True
    )  # call id → arguments, where the wire does not show them
    begun = models.JSONField(null=True, blank=True, editable=False)
    """Of an open step: its calls as they are known here and not on the wire (`progress.begin_call`)."""
    last_error = models.JSONField(null=True, blank=True)
    usage = models.JSONField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["run", "created_at", "id"])]

    def __str__(self) -> str:
        return self.id


class Worker(models.Model):
    """A process that runs runs. It holds a file lock on its host while it lives, so its host can tell that it died."""

    id = models.CharField(primary_key=True, max_length=64, editable=False)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    slots = models.PositiveIntegerField()  # 0: it has one run, and takes no other (runs/isolation.py)
    started_at = models.DateTimeField(default=clock.now)
    beat_at = models.DateTimeField(default=clock.now)
    draining = models.BooleanField(default=False)
    drain_asked = models.BooleanField(default=False)  # by an operator: it is to claim nothing more

    class Meta:
        ordering = ["-started_at"]
        verbose_name = "runner"
        verbose_name_plural = "runners"

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Provider(models.Model):
    """A server of models besides those of the settings: models named `name/…` go there."""

    name = models.SlugField(max_length=32, unique=True)
    base_url = models.URLField(max_length=512)
    sealed_key = models.TextField(blank=True, default="", editable=False)  # runs/completers/vault.py
    key_variable = models.CharField(max_length=64, blank=True, default="")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class McpServer(models.Model):
    """A server of tools, which speaks the Model Context Protocol over HTTP: its `tool` is the function `NAME__tool`."""

    name = models.CharField(
        max_length=32,
        unique=True,
        validators=[RegexValidator(r"\A[a-z][a-z0-9-]*\Z", "A name has a-z, 0-9 and -, and begins with a letter.")],
    )
    project = models.ForeignKey(
        Project, models.CASCADE, null=True, blank=True, related_name="mcp_servers", help_text="Empty: for all projects."
    )
    base_url = models.URLField("URL", max_length=512)
    header = models.CharField(max_length=64, default="Authorization")
    sealed_key = models.TextField(blank=True, default="", editable=False)  # runs/completers/vault.py
    key_variable = models.CharField(max_length=64, blank=True, default="")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    # What it said last (runs/tools/mcp.py).
    tools = models.JSONField(default=list, editable=False)
    listed_at = models.DateTimeField(null=True, editable=False)
    checked_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, default="", editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "MCP server"

    def __str__(self) -> str:
        return self.name


class ModelPrice(models.Model):
    """US dollars a million tokens, where the operator knows better than the table that Kumos brings."""

    model = models.CharField(max_length=256, unique=True)
    prompt = models.DecimalField(max_digits=12, decimal_places=6)
    cached = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    completion = models.DecimalField(max_digits=12, decimal_places=6)

    class Meta:
        ordering = ["model"]

    def __str__(self) -> str:
        return self.model


class UsageRecord(models.Model):
    """What an ended run has used. It outlives run, thread, key and assistant: plain ids. `cost` in millionths of a
    US dollar, null where nobody knows the model's price."""

    run_id = models.CharField(primary_key=True, max_length=64)
    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    thread_id = models.CharField(max_length=64)
    assistant_id = models.CharField(max_length=64)
    made_by = models.CharField(max_length=64, blank=True, default="")
    """As `Run.made_by`, but of a rotated key the first of its line."""
    model = models.CharField(max_length=256)
    status = models.CharField(max_length=16, choices=RunStatus.choices)
    ended_at = models.DateTimeField()
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-ended_at"]
        indexes = [
            models.Index(fields=["project", "ended_at"], name="usage_of_project"),
            models.Index(fields=["made_by", "ended_at"], name="usage_of_key"),
            models.Index(fields=["ended_at"], name="usage_in_time"),
        ]

    def __str__(self) -> str:
        return self.run_id
