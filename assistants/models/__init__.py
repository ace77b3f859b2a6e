"""The resources' tables. Wire names are the column names wherever Django allows; ids on the wire are the primary keys.

What a run writes (Run, RunStep) lives in `runs`, the event log in `streaming`. Nothing here is asynchronous.
"""

from .assistant import Assistant, AssistantVersion
from .departed import Departed
from .file import File, Purpose
from .idempotency import Answered
from .message import Message, MessageStatus, Role
from .project import ApiKey, Membership, Project
from .share import Share
from .thread import Thread
from .thread_text import ThreadText
from .vector_store import Chunk, FileBatch, FileStatus, VectorStore, VectorStoreFile

__all__ = [
    "Answered",
    "ApiKey",
    "Assistant",
    "AssistantVersion",
    "Chunk",
    "Departed",
    "File",
    "FileBatch",
    "FileStatus",
    "Membership",
    "Message",
    "MessageStatus",
    "Project",
    "Purpose",
    "Role",
    "Share",
    "Thread",
    "ThreadText",
    "VectorStore",
    "VectorStoreFile",
]
