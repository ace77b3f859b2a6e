"""The files of tool resources as rows, also for those that exist."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def note_files(apps: Any, schema_editor: Any) -> None:
    known = apps.get_model("assistants", "File").objects
    for name in ("Assistant", "Thread"):
        for holder in apps.get_model("assistants", name).objects.exclude(tool_resources={}).iterator():
            ids = (holder.tool_resources.get("code_interpreter") or {}).get("file_ids", [])
            if ids:
                holder.named_files.set(known.filter(pk__in=ids))


class Migration(migrations.Migration):
    dependencies = [("assistants", "0003_file_batches")]

    operations = [
        migrations.AddField(
            model_name=name,
            name="named_files",
            field=models.ManyToManyField(editable=False, related_name="+", to="assistants.file"),
        )
        for name in ("assistant", "thread")
    ] + [migrations.RunPython(note_files, migrations.RunPython.noop)]
