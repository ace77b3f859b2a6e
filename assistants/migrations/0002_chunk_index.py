"""The full-text index of chunks on SQLite: an FTS5 table over `assistants_chunk`, kept by triggers.

External content: the text is stored once. Triggers, because cascaded deletes pass by every other hook. They name no
other table, so that a later migration may rebuild files and stores; one that rebuilds `assistants_chunk` itself must
call `create` again (SQLite drops a table's triggers with it; a test notices).
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

STATEMENTS = [
    """
    CREATE VIRTUAL TABLE assistants_chunk_fts USING fts5(
        text, content='assistants_chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER assistants_chunk_fts_insert AFTER INSERT ON assistants_chunk BEGIN
        INSERT INTO assistants_chunk_fts(rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER assistants_chunk_fts_delete AFTER DELETE ON assistants_chunk BEGIN
        INSERT INTO assistants_chunk_fts(assistants_chunk_fts, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
    """
    CREATE TRIGGER assistants_chunk_fts_update AFTER UPDATE OF text ON assistants_chunk BEGIN
        INSERT INTO assistants_chunk_fts(assistants_chunk_fts, rowid, text) VALUES ('delete', old.id, old.text);
        INSERT INTO assistants_chunk_fts(rowid, text) VALUES (new.id, new.text);
    END
    """,
    "INSERT INTO assistants_chunk_fts(assistants_chunk_fts) VALUES ('rebuild')",
]


def create(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for statement in STATEMENTS:
            schema_editor.execute(statement)


def drop(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for event in ("insert", "delete", "update"):
            schema_editor.execute(f"DROP TRIGGER IF EXISTS assistants_chunk_fts_{event}")
        schema_editor.execute("DROP TABLE IF EXISTS assistants_chunk_fts")


class Migration(migrations.Migration):
    dependencies = [("assistants", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
