"""Ids as the wire shows them (contract 1.2): prefix, then random characters. Nothing can be learnt from an id."""

from __future__ import annotations

import secrets
import string

ALPHABET = string.ascii_letters + string.digits
SHARE_PREFIX = "share_"


def _random(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_project_id() -> str:
    return _random("proj_", 24)


def new_key_id() -> str:
    return _random("key_", 24)


def new_assistant_id() -> str:
    return _random("asst_", 24)


def new_thread_id() -> str:
    return _random("thread_", 24)


def new_message_id() -> str:
    return _random("msg_", 24)


def new_run_id() -> str:
    return _random("run_", 24)


def new_step_id() -> str:
    return _random("step_", 24)


def new_call_id() -> str:
    return _random("call_", 24)


def new_file_id() -> str:
    return _random("file-", 22)


def new_vector_store_id() -> str:
    return "vs_" + secrets.token_hex(16)


def new_file_batch_id() -> str:
    return "vsfb_" + secrets.token_hex(16)


def new_share_id() -> str:
    return _random(SHARE_PREFIX, 24)


def new_request_id() -> str:
    return "req_" + secrets.token_hex(16)
