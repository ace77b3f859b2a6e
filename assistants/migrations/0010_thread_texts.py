"""Full-text search over threads: a row for each title and each finished message, with the index of its words.

The index is made as that of chunks: on SQLite an FTS5 table that triggers fill (0002), on PostgreSQL a generated column
of lexemes (0006); a later migration that rebuilds the table calls `create` again. Other than there words are not
stemmed: they are found by how they begin, because the page asks while somebody still types.
"""

import re
from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

CHARACTERS_MAX = 50_000
AT_ONCE = 500
MARKER = re.compile(r"【[^】]{0,80}】")

SQLITE = [
    """
    CREATE VIRTUAL TABLE assistants_threadtext_fts USING fts5(
        text, content='assistants_threadtext', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER assistants_threadtext_fts_insert AFTER INSERT ON assistants_threadtext BEGIN
        INSERT INTO assistants_threadtext_fts(rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER assistants_threadtext_fts_delete AFTER DELETE ON assistants_threadtext BEGIN
        INSERT INTO assistants_threadtext_fts(assistants_threadtext_fts, rowid, text)
        VALUES ('delete', old.id, old.text);
    END
    """,
    """
    CREATE TRIGGER assistants_threadtext_fts_update AFTER UPDATE OF text ON assistants_threadtext BEGIN
        INSERT INTO assistants_threadtext_fts(assistants_threadtext_fts, rowid, text)
        VALUES ('delete', old.id, old.text);
        INSERT INTO assistants_threadtext_fts(rowid, text) VALUES (new.id, new.text);
    END
    """,
    "INSERT INTO assistants_threadtext_fts(assistants_threadtext_fts) VALUES ('rebuild')",
]

MARKS = r"[\u0300-\u036f]"
SIGNS = r"[!-/:-@\[-`{-~\u00a0-\u00bf\u2010-\u206f\u3000-\u303f]+"
WORDS = f"regexp_replace(regexp_replace(normalize(text, NFKD), '{MARKS}', '', 'g'), '{SIGNS}', ' ', 'g')"

POSTGRES = [
    f"""
    ALTER TABLE assistants_threadtext
    ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('pg_catalog.simple'::regconfig, {WORDS})) STORED
    """,
    "CREATE INDEX assistants_threadtext_words ON assistants_threadtext USING gin (words)",
]


def fill(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """What was said before there was an index, oldest first, as `retrieval/conversations.py` would have noted it."""
    Text: Any = apps.get_model("assistants", "ThreadText")
    threads = apps.get_model("assistants", "Thread").objects.order_by("created_at", "pk")
    messages = apps.get_model("assistants", "Message").objects.order_by("created_at", "pk")
    rows = []

    def note(**fields: Any) -> None:
        fields["text"] = MARKER.sub("", fields["text"][:CHARACTERS_MAX]).encode(errors="replace").decode().strip()
        if fields["text"]:
            rows.append(Text(**fields))
        if len(rows) >= AT_ONCE:
            Text.objects.bulk_create(rows)
            rows.clear()

    for key, metadata in threads.values_list("pk", "metadata").iterator(AT_ONCE):
        note(thread_id=key, text=str(metadata.get("title") or ""))
    finished = messages.filter(superseded=False).exclude(status="in_progress")
    for key, thread, content in finished.values_list("pk", "thread_id", "content").iterator(AT_ONCE):
        said = "\n".join(part["text"]["value"] for part in content if part.get("type") == "text")
        note(thread_id=thread, message_id=key, text=said)
    Text.objects.bulk_create(rows)


def create(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in POSTGRES if schema_editor.connection.vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement)


def drop(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":  # PostgreSQL's go with the table
        for event in ("insert", "delete", "update"):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS assistants_threadtext_fts_{event}")
        schema_editor.execute("DROP TABLE IF EXISTS assistants_threadtext_fts")


class Migration(migrations.Migration):
    dependencies = [("assistants", "0009_share")]

    operations = [
        migrations.CreateModel(
            name="ThreadText",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message_id", models.CharField(max_length=64, null=True, unique=True)),
                ("text", models.TextField()),
                (
                    "thread",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="assistants.thread"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("message_id", None)), fields=("thread",), name="one_title"
                    )
                ],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(create, drop),
    ]
