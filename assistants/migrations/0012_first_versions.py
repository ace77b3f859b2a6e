"""Assistants that were there before versions were kept have their state of now as the first."""

from typing import Any

from django.db import migrations

FIELDS = (
    "name",
    "description",
    "model",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "reasoning_effort",
)


def first_versions(apps: Any, schema_editor: Any) -> None:
    version = apps.get_model("assistants", "AssistantVersion")
    assistants = apps.get_model("assistants", "Assistant").objects
    for assistant in assistants.filter(version=0).order_by("pk").iterator(chunk_size=500):
        body = {name: getattr(assistant, name) for name in FIELDS}
        version.objects.create(assistant=assistant, number=1, body=body, note="As it was when versions began")
    assistants.filter(version=0).update(version=1)


class Migration(migrations.Migration):
    dependencies = [("assistants", "0011_operators")]

    operations = [migrations.RunPython(first_versions, migrations.RunPython.noop)]
