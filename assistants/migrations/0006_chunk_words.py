r"""The full-text index of chunks on PostgreSQL: a generated column and its GIN index, so nothing can forget to fill it.

The words are those of SQLite's index (migration 0002): no marks above letters, split at every sign, stemmed, and none
left out, for a question may be all stop words. Signs become spaces first, or PostgreSQL's parser would keep addresses,
paths and hyphenated words whole. The expression stands in the column itself, where a dump names all it needs in full.

The column is no field of the model: Django never writes it. A later migration that alters `text` drops it first.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

MARKS = r"[\u0300-\u036f]"
SIGNS = r"[!-/:-@\[-`{-~\u00a0-\u00bf\u2010-\u206f\u3000-\u303f]+"
WORDS = f"regexp_replace(regexp_replace(normalize(text, NFKD), '{MARKS}', '', 'g'), '{SIGNS}', ' ', 'g')"

STATEMENTS = [
    "CREATE TEXT SEARCH DICTIONARY assistants_stem (TEMPLATE = snowball, LANGUAGE = english)",
    "CREATE TEXT SEARCH CONFIGURATION assistants_words (COPY = simple)",
    """
    ALTER TEXT SEARCH CONFIGURATION assistants_words
    ALTER MAPPING FOR asciiword, word, numword WITH assistants_stem
    """,
    f"""
    ALTER TABLE assistants_chunk
    ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('assistants_words'::regconfig, {WORDS})) STORED
    """,
    "CREATE INDEX assistants_chunk_words ON assistants_chunk USING gin (words)",
]

REVERSED = [
    "ALTER TABLE assistants_chunk DROP COLUMN IF EXISTS words",
    "DROP TEXT SEARCH CONFIGURATION IF EXISTS assistants_words",
    "DROP TEXT SEARCH DICTIONARY IF EXISTS assistants_stem",
]


def create(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in STATEMENTS:
            schema_editor.execute(statement)


def drop(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in REVERSED:
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("assistants", "0005_departed")]

    operations = [migrations.RunPython(create, drop)]
