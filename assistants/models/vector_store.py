"""Vector stores, their files and the chunks that file_search ranks (contract 5.2, 5.3)."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from assistants import clock, ids

from .file import File
from .project import Project


class FileStatus(models.TextChoices):
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class VectorStore(models.Model):
    """`covers_project` marks the one hidden store of a project that holds every file with purpose `assistants`.

    It answers "all available files" where neither the assistant nor the thread names a store, and no list shows it.
    """

    id = models.CharField(primary_key=True, max_length=64, default=ids.new_vector_store_id, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="vector_stores")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    last_active_at = models.DateTimeField(default=clock.now, editable=False)
    name = models.CharField(max_length=256, null=True, blank=True)  # noqa: DJ001 (null on the wire)
    description = models.TextField(null=True, blank=True)  # noqa: DJ001
    expires_after_days = models.PositiveIntegerField(null=True, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    covers_project = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["project", "created_at", "id"])]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(covers_project=True), name="one_covering_store_per_project"
            )
        ]

    def __str__(self) -> str:
        return self.name or self.id


class VectorStoreFile(models.Model):
    """A file in a store; on the wire its id is the file's. Only the holder of the claim may end `in_progress`."""

    vector_store = models.ForeignKey(VectorStore, models.CASCADE, related_name="store_files")
    file = models.ForeignKey(File, models.CASCADE, related_name="store_files")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    status = models.CharField(max_length=16, choices=FileStatus.choices, default=FileStatus.IN_PROGRESS)
    usage_bytes = models.BigIntegerField(default=0)
    last_error = models.JSONField(null=True, blank=True)
    max_chunk_size_tokens = models.PositiveIntegerField(default=800)
    chunk_overlap_tokens = models.PositiveIntegerField(default=400)
    attributes = models.JSONField(default=dict, blank=True)
    epoch = models.PositiveIntegerField(default=0, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["vector_store", "file"], name="file_once_per_store")]
        indexes = [
            models.Index(fields=["vector_store", "created_at", "id"]),
            models.Index(fields=["created_at"], condition=Q(status="in_progress"), name="store_file_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.file_id} in {self.vector_store_id}"


class FileBatch(models.Model):
    """Files that were put into a store together (contract 5.4). A batch counts them, wherever they get to."""

    id = models.CharField(primary_key=True, max_length=64, default=ids.new_file_batch_id, editable=False)
    vector_store = models.ForeignKey(VectorStore, models.CASCADE, related_name="file_batches")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False)
    store_files = models.ManyToManyField(VectorStoreFile, related_name="batches")

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "file batches"

    def __str__(self) -> str:
        return self.id


class Chunk(models.Model):
    """A passage of a file in a store. The full-text index follows this table by triggers (assistants/retrieval).

    `text` has the white space around the passage; its first `repeated` characters are the end of the chunk in front.
    """

    store_file = models.ForeignKey(VectorStoreFile, models.CASCADE, related_name="chunks")
    position = models.PositiveIntegerField()
    text = models.TextField()
    repeated = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["store_file", "position"], name="chunk_position_once")]

    def __str__(self) -> str:
        return f"{self.store_file_id}#{self.position}"
