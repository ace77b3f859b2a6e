"""Python functions that models may call: `@function_tool` in the `tools.py` of any installed app (docs/tools.md).

Type hints are the schema, the docstring is the description. pydantic reads them when they are first asked for: it takes
a while to load, and most installations have no functions of their own.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, get_type_hints, overload

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .function import CallContext, ToolError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
DESCRIPTION_CHARS_MAX = 1024
ERRORS_TOLD = 5
THREADS_MAX = 256
"""Calls of plain functions at a time in one process, with those that were given up and have not come back."""

functions: dict[str, PythonFunction] = {}
"""By name. Apps enter theirs when they are ready (runs/apps.py)."""

_threads = threading.BoundedSemaphore(THREADS_MAX)


@overload
def function_tool[F: Callable[..., Any]](function: F, /) -> F: ...
@overload
def function_tool[F: Callable[..., Any]](
    *, name: str = "", idempotent: bool = False, seconds: float | None = None
) -> Callable[[F], F]: ...
def function_tool[F: Callable[..., Any]](
    function: F | None = None, /, *, name: str = "", idempotent: bool = False, seconds: float | None = None
) -> F | Callable[[F], F]:
    """Makes a function, plain or async, one that assistants' function tools of its name run on this server.

    `idempotent`: making a call twice does no more than making it once. Others are never repeated when a worker dies.
    `seconds`: how long a call may take, in place of KUMOS_TOOL_SECONDS.
    """

    def entered(function: F) -> F:
        enter(PythonFunction(name or function.__name__, function, idempotent, seconds))
        return function

    return entered if function is None else entered(function)


def enter(function: PythonFunction) -> None:
    """Raises ImproperlyConfigured for what could never be called: at the start, where its author reads it."""
    place = f"{function.function.__module__}.{function.function.__qualname__}"
    if not NAME.fullmatch(function.name):
        raise ImproperlyConfigured(f"{place}: a tool's name has 1 to 64 of A-Z, a-z, 0-9, _ and -.")
    other = functions.get(function.name)
    if other is not None and other.function.__module__ != function.function.__module__:
        raise ImproperlyConfigured(f"{place}: {other.function.__module__} has a tool {function.name} already.")
    for parameter in inspect.signature(function.function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ImproperlyConfigured(f"{place}: models give arguments by name, {parameter} has none.")
        if parameter.annotation is parameter.empty:
            raise ImproperlyConfigured(f"{place}: the parameter {parameter.name} has no type hint.")
    functions[function.name] = function


@dataclass(frozen=True)
class PythonFunction:
    """One of them, as a ServerFunction."""

    name: str
    function: Callable[..., Any]
    idempotent: bool = False
    seconds_given: float | None = None

    @property
    def description(self) -> str:
        return (inspect.getdoc(self.function) or "")[:DESCRIPTION_CHARS_MAX]

    @property
    def seconds(self) -> float:
        return self.seconds_given or settings.KUMOS_TOOL_SECONDS

    def parameters(self) -> Mapping[str, Any]:
        from pydantic.json_schema import GenerateJsonSchema

        class Untitled(GenerateJsonSchema):
            """Titles repeat the names, and every prompt would pay for them."""

            def field_title_should_be_set(self, schema: Any) -> bool:
                return False

        schema = self._arguments.json_schema(schema_generator=Untitled)
        schema.pop("title", None)
        return {"properties": {}, **schema}

    async def call(self, context: CallContext, arguments: str) -> str:
        given = await asyncio.to_thread(self.read, arguments)  # the first one loads pydantic
        given |= dict.fromkeys(self._context_names, context)
        work = partial(self.function, **given)
        if inspect.iscoroutinefunction(self.function):
            try:
                result = await work()
            except (SystemExit, KeyboardInterrupt) as error:  # or the loop would end, and all runs with it
                raise ToolError(f"{type(error).__name__}: {error}") from None
        else:
            result = await asyncio.wrap_future(in_thread(work, f"tool {self.name}"))
        return result if isinstance(result, str) else await asyncio.to_thread(told, result)

    def read(self, arguments: str) -> dict[str, Any]:
        """The function's arguments. Raises ToolError that tells the model what is wrong with what it wrote."""
        from pydantic import ValidationError

        try:
            found = self._arguments.validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            told = [
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"]
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise ToolError(f"the arguments do not fit. {'; '.join(told[:ERRORS_TOLD])}") from None
        return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}

    @cached_property
    def _hints(self) -> dict[str, Any]:
        hints = get_type_hints(self.function, include_extras=True)
        return {name: hints[name] for name in inspect.signature(self.function).parameters}

    @property
    def _context_names(self) -> list[str]:
        return [name for name, hint in self._hints.items() if hint is CallContext]

    @cached_property
    def _arguments(self) -> TypeAdapter[Any]:
        """What models may give, as a dataclass: unlike a model of pydantic's, it minds no name of a field."""
        from pydantic import ConfigDict, TypeAdapter

        signature = inspect.signature(self.function).parameters
        fields: list[Any] = []
        for name, hint in self._hints.items():
            default = signature[name].default
            if name in self._context_names:
                continue
            if default is inspect.Parameter.empty:
                fields.append((name, hint))
            elif type(default).__hash__ is None:  # a list, say, which calls must not share
                fields.append((name, hint, dataclasses.field(default_factory=partial(copy.deepcopy, default))))
            else:
                fields.append((name, hint, dataclasses.field(default=default)))
        namespace = {"__pydantic_config__": ConfigDict(extra="forbid")}
        return TypeAdapter(dataclasses.make_dataclass("Arguments", fields, kw_only=True, namespace=namespace))


def faults(**_: Any) -> list[CheckMessage]:
    """What Django's checks say at the start of hints that are no schema. Loads pydantic, where there are functions."""
    found: list[CheckMessage] = []
    for function in functions.values():
        try:
            function.parameters()
        except Exception as error:
            place = f"{function.function.__module__}.{function.function.__qualname__}"
            found.append(Error(f"The type hints of the tool {place} are no schema: {error}", id="runs.E001"))
    return found


def told(result: Any) -> str:
    """The result as JSON: whatever pydantic can write."""
    from pydantic_core import to_json

    return to_json(result).decode()


def in_thread(work: Callable[[], Any], name: str) -> Future[Any]:
    """Runs `work` in a thread of its own: one that never returns takes nobody's place, and no stop waits for it."""
    if not _threads.acquire(blocking=False):
        raise ToolError(f"{THREADS_MAX} calls are under way already.")
    future: Future[Any] = Future()

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:
            failed = error
        except BaseException as error:  # SystemExit: a function may end, the server does not
            failed = ToolError(f"{type(error).__name__}: {error}")
        finally:
            connections.close_all()
            _threads.release()
        if failed is None:
            future.set_result(result)
        else:
            future.set_exception(failed)

    future.set_running_or_notify_cancel()
    try:
        threading.Thread(target=run, name=name, daemon=True).start()
    except RuntimeError:  # the system has no more threads
        _threads.release()
        raise
    return future
