"""Batches of files, and how much of a chunk is repeated from the one in front.

The new column rebuilds the table of chunks, and SQLite drops the triggers of its full-text index with it.
"""

from importlib import import_module

from django.db import migrations, models

import assistants.clock
import assistants.ids

index = import_module("assistants.migrations.0002_chunk_index")


class Migration(migrations.Migration):
    dependencies = [("assistants", "0002_chunk_index")]

    operations = [
        migrations.RunPython(index.drop, index.create),
        migrations.AddField(
            model_name="chunk",
            name="repeated",
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.RunPython(index.create, index.drop),
        migrations.CreateModel(
            name="FileBatch",
            fields=[
                (
                    "id",
                    models.CharField(
                        default=assistants.ids.new_file_batch_id,
                        editable=False,
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("created_at", models.DateTimeField(default=assistants.clock.now, editable=False)),
                ("cancelled_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("store_files", models.ManyToManyField(related_name="batches", to="assistants.vectorstorefile")),
                (
                    "vector_store",
                    models.ForeignKey(
                        on_delete=models.deletion.CASCADE,
                        related_name="file_batches",
                        to="assistants.vectorstore",
                    ),
                ),
            ],
            options={"verbose_name_plural": "file batches", "ordering": ["-created_at", "-id"]},
        ),
    ]
