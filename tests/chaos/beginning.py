"""Data as the first start of a server leaves them: tables, the demo with its key, and a key of another project.

Made by one process, and for SQLite once for all tests, so that each begins with a copy and its servers start at once.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.databases import Database, Sqlite
from tests.process import ROOT

STRANGER = "stranger_key"
SCRIPT = """
import django
django.setup()
from django.core.management import call_command
from kumos_site.tables import set_up
set_up()
call_command("createkey", project="Strangers")
"""

_made: Path | None = None


async def begin(data_dir: Path, database: Database, environment: Mapping[str, str]) -> str:
    """Makes the data below `data_dir` and in `database`. Returns the stranger's key."""
    global _made
    if not isinstance(database, Sqlite):
        return await make(data_dir, database, environment)
    if _made is None:
        folder = Path(tempfile.mkdtemp(prefix="kumos-chaos-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / STRANGER).write_text(await make(folder, Sqlite(folder), environment))
        _made = folder
    await asyncio.to_thread(shutil.copytree, _made, data_dir, dirs_exist_ok=True)
    return (data_dir / STRANGER).read_text()


async def make(data_dir: Path, database: Database, environment: Mapping[str, str]) -> str:
    own = {"DJANGO_SETTINGS_MODULE": "kumos_site.settings", "KUMOS_DATA_DIR": str(data_dir), **database.settings()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT), cwd=ROOT, env={**environment, **own}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, "the data could not be made"
    return out.decode().strip()
