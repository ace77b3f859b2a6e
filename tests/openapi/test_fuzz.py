"""Every operation of a served Kumos, asked with what its schema allows and with what it forbids (schemathesis).

Never a 5xx, never an answer that the document does not describe, and what the document forbids is refused. Where an id
is asked for, one that exists is sent most of the time, so that operations succeed, too: `test_…` counts how often.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kumos_site.openapi.document import document
from tests.e2e.events import Desk, frames
from tests.openapi.residents import LISTED, PLACEHOLDERS, Residents, settle
from tests.process import KumosProcess
from tests.wire import check_answer, validator_of

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = [2, pytest.param(100, marks=pytest.mark.slow)]
ENDLESS = ("/threads/runs/stream", "/threads/{thread_id}/runs/stream")
"""They stay open, so their beginning is all that is looked at."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    server = KumosProcess(tmp_path_factory.mktemp("fuzz"), KUMOS_SCRIPTED_TOKENS_PER_SECOND="100000")
    with server, Desk(server) as desk:
        yield desk


def with_placeholders() -> dict[str, Any]:
    """The document, with words for existing ids (residents.py) where a request names one."""
    described = deepcopy(document())
    for path, item in described["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["schema"] = PLACEHOLDERS[parameter["name"]]
                elif parameter["name"] in ("after", "before"):
                    parameter["schema"] = PLACEHOLDERS[LISTED[path.rpartition("/")[2]]]
                elif parameter.get("style") == "deepObject":
                    threads = {word: {"enum": ["", "0"]} for word in PLACEHOLDERS["thread_id"]["enum"]}
                    parameter["schema"] = {"type": "object", "properties": threads, "required": list(threads)}
                    parameter["schema"]["additionalProperties"] = False
    for schema in described["components"]["schemas"].values():
        for name, property in schema.get("properties", {}).items():
            fill(name, property)
    for name in ("RunInput", "ThreadRunInput"):
        described["components"]["schemas"][name]["properties"]["model"] = PLACEHOLDERS["model"]
    return described


def fill(name: str, schema: dict[str, Any]) -> None:
    """Only what requests name: ids in answers have no pattern there, and are not in PLACEHOLDERS by these names."""
    if name in ("file_id", "assistant_id", "tool_call_id") and ("pattern" in schema or "minLength" in schema):
        schema.clear()
        schema.update(PLACEHOLDERS[name])
    elif name in ("file_ids", "vector_store_ids") and "pattern" in schema["items"]:
        schema["items"] = PLACEHOLDERS[name.removesuffix("s")]


SCHEMA = schemathesis.openapi.from_dict(with_placeholders())
SCHEMA = schemathesis.openapi.from_dict(with_placeholders())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)}


def explore(desk: Desk, label: str, mode: GenerationMode, examples: int) -> Counter[int]:
    """Statuses of the answers to so many requests. Raises for the first answer that should not have been."""
    operation = OPERATIONS[label]
    residents = Residents(desk)
    seen: Counter[int] = Counter()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        ids = residents.ids_for(label)
        case.path_parameters = put(case.path_parameters, ids)
        case.query = put(case.query, ids)
        case.body = put(case.body, ids)
        if case.path in ENDLESS:
            seen[beginning(desk, case)] += 1
            return
        response = case.call(base_url=desk.server.url + "/v1", headers=desk.headers, timeout=60)
        seen[response.status_code] += 1
        headers = {name.lower(): values[0] for name, values in response.headers.items()}
        path = "/v1" + case.formatted_path
        media = headers["content-type"].partition(";")[0]
        check_answer(
            case.method, path, response.status_code, headers, response.content if media == "application/json" else None
        )
        unread = []
        if media == "text/event-stream":  # frames() holds every event against its schema
            unread.append(response_schema_conformance)
            assert frames(response.content)[-1].name == "done"
        case.validate_response(response, excluded_checks=unread, checks=CHECKS)
        assert response.status_code >= 400 or not is_forbidden(case)

    ask()
    return seen


def is_forbidden(case: Any) -> bool:
    """Whether the document, as it is, refuses the body."""
    described = document()["paths"][case.path][case.method.lower()].get("requestBody")
    if described is None or case.media_type != "application/json" or case.body is NOT_SET:
        return False
    return not validator_of(orjson.dumps(described["content"]["application/json"]["schema"])).is_valid(case.body)


def put(value: Any, ids: dict[str, str]) -> Any:
    """`value` with ids for the words that stand for them."""
    match value:
        case str():
            return ids.get(value, value)
        case list():
            return [put(item, ids) for item in value]
        case dict():
            return {
                re.sub(r"\w+", lambda word: ids.get(word[0], word[0]), key): put(item, ids)
                for key, item in value.items()
            }
    return value


def named(key: str, ids: dict[str, str]) -> str:
    """A key that names an id: `starting_after[some_thread_id]`."""
    return re.sub(r"(?<=\[)\w+(?=\])", lambda word: ids.get(word[0], word[0]), key)


def beginning(desk: Desk, case: Any) -> int:
    cursor = {name: value for name, value in (case.headers or {}).items() if name == "Last-Event-ID"}
    with desk.http.stream("GET", case.formatted_path, params=case.query, headers=cursor) as response:
        if response.status_code == 200:
            assert next(response.iter_lines())
        return response.status_code


@pytest.mark.e2e
@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("examples", EXAMPLES)
def test_allowed_requests_are_answered_as_described(desk: Desk, label: str, examples: int) -> None:
    seen = explore(desk, label, GenerationMode.POSITIVE, examples)
    if not seen[200]:  # some bodies have rules that no schema says: of many, one keeps them
        seen = explore(desk, label, GenerationMode.POSITIVE, 100)
    assert seen[200], seen


@pytest.mark.e2e
@pytest.mark.parametrize("label", [label for label in OPERATIONS if label != "GET /openapi.json"])
@pytest.mark.parametrize("examples", EXAMPLES)
def test_forbidden_requests_are_refused_as_described(desk: Desk, label: str, examples: int) -> None:
    explore(desk, label, GenerationMode.NEGATIVE, examples)


@pytest.mark.e2e
def test_nothing_is_left_at_work(desk: Desk) -> None:
    """After all of the above: whatever it started has ended, or waits for tool outputs."""
    assert settle(desk) > 0
