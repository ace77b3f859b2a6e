"""The database and the bells: whether they answer, are as Kumos needs them, and agree on the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from assistants import layer
from assistants.clock import shared_now
from kumos_site.diagnosis import Check, Finding, Level
from kumos_site.metrics import beating_workers
from runs.models import Worker

MOUNTS = Path("/proc/self/mounts")
NETWORK_DISKS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "afs", "lustre", "fuse.s3fs")
"""What the names of file systems begin with on which SQLite's locks and shared memory cannot be trusted."""
POSTGRES_MIN = 150_000
CLOCK_OFF = timedelta(seconds=1)
REDIS_SECONDS = 1.0


def database() -> Iterator[Finding]:
    """Whether it answers, and what it is. The last finding is broken where nothing more can be asked of it."""
    try:
        connection.ensure_connection()
        if connection.vendor == "postgresql":
            yield postgres()
        else:
            yield from sqlite()
        missing, unknown = migrations()
    except DatabaseError as error:
        where = settings.DATABASES["default"].get("HOST") or settings.DATABASES["default"]["NAME"]
        told = f"It does not answer ({type(error).__name__}): {where}."
        fix = "Start it, or check DATABASE_URL: address, name, user, password."
        yield Finding("database.away", Level.BROKEN, "Database", told, fix)
        return
    if missing:
        which = f"{missing} migration{'s are' if missing > 1 else ' is'} not applied"
        told = f"{which}: the tables are those of an older release."
        yield Finding("migrations.missing", Level.BROKEN, "Tables", told, "python manage.py migrate")
    elif unknown:
        told = f"The tables are those of a newer release: {', '.join(unknown[:3])} is not known here."
        fix = "Start the newer release, or restore the database as it was."
        yield Finding("migrations.unknown", Level.WARNING, "Tables", told, fix)
    else:
        yield Finding("migrations", Level.OK, "Tables", "They are those of this release.")


def migrations() -> tuple[int, list[str]]:
    """How many are not applied, and which ones are that nobody here knows."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    apps = {app for app, _ in executor.loader.disk_migrations or {}}
    replaced = {key for one in (executor.loader.disk_migrations or {}).values() for key in one.replaces}
    known = set(executor.loader.disk_migrations or {}) | replaced
    unknown = [f"{app}.{name}" for app, name in executor.loader.applied_migrations or {} if app in apps]
    return len(missing), [name for name in unknown if tuple(name.split(".", 1)) not in known]


def postgres() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        number, words = cursor.fetchone()
        cursor.execute("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
        (encoding,) = cursor.fetchone()
        cursor.execute("SELECT current_setting('max_connections')::int")
        (allowed,) = cursor.fetchone()
    if number < POSTGRES_MIN:
        return Finding("database.old", Level.BROKEN, "Database", f"PostgreSQL {words} is too old.", "Take 15 or newer.")
    if encoding != "UTF8":
        told = f"Its encoding is {encoding}: most of what people write cannot be stored."
        return Finding("database.encoding", Level.BROKEN, "Database", told, "Make a database with ENCODING 'UTF8'.")
    pool = settings.KUMOS_DATABASE_POOL
    if pool > allowed:
        told = f"KUMOS_DATABASE_POOL={pool}, and PostgreSQL takes {allowed} connections in all."
        return Finding("database.pool", Level.WARNING, "Database", told, "Lower it, or raise max_connections.")
    return Finding("database", Level.OK, "Database", f"PostgreSQL {words} answers.")


def sqlite() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()")
        (words,) = cursor.fetchone()
        cursor.execute("PRAGMA journal_mode")
        (mode,) = cursor.fetchone()
    file = Path(connection.settings_dict["NAME"])
    kind = network_disk(file)
    if kind:
        told = f"{file} is on a network disk ({kind}): SQLite's locks do not hold there, and it will be destroyed."
        fix = "Move KUMOS_DATA_DIR to a disk of this machine, or use PostgreSQL (DATABASE_URL)."
        yield Finding("sqlite.network", Level.BROKEN, "Database", told, fix)
    elif mode != "wal":
        told = f"SQLite keeps its journal in mode {mode}: readers and the writer wait for each other."
        fix = "Make sure that its folder can be written and is on a disk of this machine, then restart."
        yield Finding("sqlite.journal", Level.WARNING, "Database", told, fix)
    else:
        yield Finding("database", Level.OK, "Database", f"SQLite {words} answers, with a write-ahead log.")


def network_disk(path: Path) -> str:
    """The kind of network disk that `path` is on; "" for one of this machine, and where nobody can tell."""
    try:
        lines = [line.split(" ") for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    place = path.resolve()
    mounts = {Path(line[1].encode().decode("unicode_escape")): line[2] for line in lines if len(line) > 2}
    over = max((mount for mount in mounts if place.is_relative_to(mount)), key=lambda one: len(one.parts), default=None)
    kind = mounts[over] if over is not None else ""
    return kind if kind.startswith(NETWORK_DISKS) else ""


def bells() -> Iterator[Finding]:
    """Redis, where it is set: the layer itself would only say that something is wrong."""
    if not settings.REDIS_URL:
        return
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=REDIS_SECONDS, socket_timeout=REDIS_SECONDS
    )
    try:
        client.ping()
    except redis.AuthenticationError:
        told, fix = "Redis refuses the password.", "Correct it in REDIS_URL."
        yield Finding("redis.refused", Level.BROKEN, "Bells", told, fix)
    except (redis.RedisError, OSError) as error:
        told = f"Redis does not answer ({type(error).__name__}): processes look into the database four times a second."
        yield Finding("redis.away", Level.BROKEN, "Bells", told, "Start it, or correct REDIS_URL.")
    else:
        yield Finding("redis", Level.OK, "Bells", "Redis answers.")
    finally:
        client.close()


def one_process() -> Iterator[Finding]:
    """Several processes should hear of each other."""
    if not layer.in_memory():
        return
    workers = beating_workers().count()
    if workers > 1 or layer.is_one_of_several():
        told = "Several processes work together without Redis: they look into the database four times a second."
        yield Finding("layer.alone", Level.WARNING, "Bells", told, "Set REDIS_URL to the same Redis for all of them.")
    else:
        yield Finding("layer", Level.OK, "Bells", "They ring within the one process; no Redis is needed.")


def one_secret() -> Iterator[Finding]:
    """Processes with data directories of their own should not each have made a key."""
    from kumos_site.settings import GIVEN

    hosts = Worker.objects.order_by().values_list("host", flat=True).distinct()[:2]
    if len(hosts) > 1 and "SECRET_KEY" not in GIVEN:
        told = "Processes with several data directories share the database, and each has made a secret key of its own."
        fix = "Give all of them the same SECRET_KEY: otherwise logins and keys of providers work with one of them only."
        yield Finding("secret_key.several", Level.WARNING, "Secret key", told, fix)


def clock() -> Iterator[Finding]:
    before = time.time()
    there = shared_now().timestamp()
    yield clock_finding(timedelta(seconds=there - (before + time.time()) / 2))


def clock_finding(ahead: timedelta) -> Finding:
    """`ahead`: how far the database's clock is ahead of this machine's."""
    if abs(ahead) > CLOCK_OFF:
        seconds = abs(ahead.total_seconds())
        where = "behind" if ahead > timedelta() else "ahead of"
        told = f"This machine's clock is {seconds:,.1f} s {where} the database's."
        fix = "Have both follow a time server (chrony, systemd-timesyncd)."
        return Finding("clock", Level.WARNING, "Clock", told, fix)
    return Finding("clock", Level.OK, "Clock", "It agrees with the database's.")


FIRST: list[Check] = [database]
BESIDE: list[Check] = [bells]
TABLES: list[Check] = [one_process, one_secret, clock]
