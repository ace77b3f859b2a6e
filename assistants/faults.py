"""What an error of the database means: that it is busy or away, which passes, or that the code is wrong.

Django's classes do not tell: SQLite says OperationalError for a column that is not there, and PostgreSQL InternalError
for a server that became a replica. What to answer is said in errors.py and views/resource.py.
"""

from __future__ import annotations

import sqlite3

from django.db import DatabaseError, InterfaceError, OperationalError

PASSING_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
LOCK_NOT_AVAILABLE = "55P03"
LIMITS_OF_POSTGRESQL = "54"
"""The class of statements that are too much for it: they will be at the next try, too."""
PASSING_INTERNAL = ("25P03", "25006")
"""A pause in a transaction took too long, so PostgreSQL has ended it; the server is a replica now."""
UNDONE = ("40001", "40P01")
"""Two transactions were in each other's way, and PostgreSQL took this one back as a whole."""


class OutcomeUnknown(Exception):
    """The connection broke while a transaction was committed: it may have happened or not. Mixed into the driver's."""


def is_passing(error: BaseException) -> bool:
    """Whether the same work may succeed a moment later: a lock, a lost connection, a full disk, no answer in time."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)  # what Python itself refuses has none
        return code is not None and code & 0xFF in PASSING_SQLITE
    state = sqlstate(error)
    if isinstance(error, OperationalError):
        return state is None or not state.startswith(LIMITS_OF_POSTGRESQL)
    if isinstance(error, InterfaceError):  # somebody closed the connection
        return True
    return isinstance(error, DatabaseError) and state in PASSING_INTERNAL


def is_undone(error: BaseException) -> bool:
    """Whether a deadlock or the like took the whole transaction back, so that it may be done again at once."""
    return sqlstate(error) in UNDONE


def is_lock_wait(error: BaseException) -> bool:
    """Whether a row was not to be had in time, for somebody else holds it: nothing is wrong with the database.

    False on SQLite, whose one lock is not about a row.
    """
    return sqlstate(error) == LOCK_NOT_AVAILABLE


def outcome_is_unknown(error: BaseException) -> bool:
    return isinstance(error.__cause__, OutcomeUnknown)


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code for `error`; None on SQLite, and where it could not even answer."""
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state
