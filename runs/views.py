"""Runs, steps and models below /v1 (contract 2.1, 2.8–2.13, 6). With `stream: true` the answer is the run's stream.

An error that is known before the run exists is an ordinary JSON answer (contract 3.1).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.request import Request

from assistants.answers import POLL_HEADERS, Answer, Page
from assistants.authentication import principal_of, share_of
from assistants.conversation import find_thread
from assistants.errors import ApiError, not_found
from assistants.models import Assistant
from assistants.models.assistant import auto
from assistants.pagination import paginate
from assistants.scopes import Area, within
from assistants.serializers.message import MetadataChanges
from assistants.serializers.refusals import at, unsupported_value
from assistants.views.resource import ResourceViewSet, takes
from runs import budgets, transitions
from runs.completers import CompleterError, catalogue
from runs.completers.providers import completer_for
from runs.models import Run
from runs.serializers import (
    INCLUDE_CONTENT,
    Include,
    ModelList,
    ModelObject,
    RunInput,
    RunObject,
    StepObject,
    ThreadRunInput,
    ToolOutputs,
    model_object,
    run_object,
    step_object,
)
from runs.shared import runs_of
from runs.tools import registry
from runs.transitions import Created
from streaming import journal, seats, sse
from streaming.seats import Seat
from streaming.sse import EventStream

logger = logging.getLogger(__name__)

INCLUDE = {"include[]": Include()}


def included(request: Request) -> list[str]:
    """`include[]` of the query, also without the brackets."""
    values = [*request.query_params.getlist("include[]"), *request.query_params.getlist("include")]
    for index, value in enumerate(values):
        if value != INCLUDE_CONTENT:
            raise at("include", at(index, unsupported_value(value, [INCLUDE_CONTENT])))
    return values


def new_run(assistant: Assistant, data: Mapping[str, Any], include: list[str]) -> Run:
    """The run that `data` asks for, unsaved: the assistant as it is now, with the overrides."""
    given = {name: value for name, value in data.items() if value is not None}
    model = given.get("model", assistant.model)
    try:
        completer_for(model, assistant.project_id)
    except CompleterError as error:
        logger.warning("a run was refused: %s", error.message)
        raise ApiError(
            f"The requested model '{model}' does not exist.", param="model", code="model_not_found"
        ) from None
    tools = given.get("tools", assistant.tools)
    tool_choice = given.get("tool_choice", auto())
    check_choice(tool_choice, tools)
    instructions = [given.get("instructions", assistant.instructions), given.get("additional_instructions")]
    return Run(
        project_id=assistant.project_id,
        assistant_id=assistant.pk,
        model=model,
        instructions=" ".join(part for part in instructions if part) or None,
        tools=tools,
        tool_resources=assistant.tool_resources,
        metadata=given.get("metadata", {}),
        temperature=given.get("temperature", assistant.temperature),
        top_p=given.get("top_p", assistant.top_p),
        response_format=given.get("response_format", assistant.response_format),
        tool_choice=tool_choice,
        truncation_strategy=given.get("truncation_strategy", {"type": "auto", "last_messages": None}),
        parallel_tool_calls=given.get("parallel_tool_calls", True),
        max_prompt_tokens=given.get("max_prompt_tokens"),
        max_completion_tokens=given.get("max_completion_tokens"),
        reasoning_effort=given.get("reasoning_effort", assistant.reasoning_effort),
        include=include,
        assistant_version=assistant.version or None,
    )


def check_choice(choice: Any, tools: Sequence[Mapping[str, Any]]) -> None:
    """ApiError 400 for a `tool_choice` that forces a tool which the run lacks, or which this server cannot run."""
    if isinstance(choice, str):
        return
    kind, name = choice["type"], choice.get("function", {}).get("name")
    if not any(tool["type"] == kind and tool.get("function", {}).get("name") == name for tool in tools):
        what = f"no function named '{name}'" if name else f"no tool of type '{kind}'"
        reason = f"{what} was specified in the 'tools' parameter."
    elif kind != "function" and kind not in registry:
        reason = f"the tool '{kind}' is not available on this server."
    else:
        return
    raise ApiError(f"Invalid value for 'tool_choice': {reason}", param="tool_choice", code="invalid_value")


@within(Area.THREADS)
class RunViewSet(ResourceViewSet):
    def assistant(self, id: str) -> Assistant:
        assistant = Assistant.objects.filter(project=self.project, pk=id).first()
        if assistant is None:
            raise not_found("assistant", id)
        return assistant

    def new_run(self, data: Mapping[str, Any]) -> Run:
        """The run that the request asks for, unsaved. ApiError 429 where there is no budget for it."""
        run = new_run(self.assistant(data["assistant_id"]), data, included(self.request))
        principal = principal_of(self.request)
        budgets.check(principal.project, principal.key)
        run.made_by = principal.owner
        run.request_id = self.request.META.get("KUMOS_REQUEST_ID", "")
        return run

    def find(self, thread_id: str, run_id: str) -> Run:
        """ApiError 404 also where the run is another thread's. An overdue run is ended before it is shown."""
        thread = find_thread(self.project, thread_id)
        run = runs_of(thread, share_of(self.request)).filter(pk=run_id).first()
        if run is None:
            raise not_found("run", run_id)
        return transitions.expire_overdue(run)

    def seat(self, data: Mapping[str, Any]) -> Seat | None:
        """A seat for the stream, if one is asked for: to be taken before there is anything to stream."""
        return seats.take(principal_of(self.request)) if data.get("stream") else None

    def answer(
        self, created: Created, seat: Seat | None, *, with_thread: bool = False
    ) -> Answer[RunObject] | EventStream:
        if seat is None:
            return Answer(run_object(created.run), headers=POLL_HEADERS)
        start = sse.RunCursor(
            thread_id=created.run.thread_id,
            run_id=created.run.pk,
            seq=created.cursor,
            with_thread=with_thread,
            one_turn=True,
        )
        return sse.RunStream(start, seat)

    def reopen(self, beginning: dict[str, Any]) -> EventStream:
        start = sse.RunCursor(**beginning)
        whole = journal.is_whole(start.thread_id, start.seq, start.run_id)
        return sse.RunStream(start, seats.take(principal_of(self.request)), whole=whole)

    def list(self, request: Request, thread_id: str) -> Answer[Page[RunObject]]:
        thread = find_thread(self.project, thread_id)
        if thread.active_run_id and (active := Run.objects.filter(pk=thread.active_run_id).first()):
            transitions.expire_overdue(active)
        return paginate(runs_of(thread, share_of(request)), request, run_object, thread=thread)

    @takes(RunInput, query=INCLUDE)
    def create(self, request: Request, thread_id: str) -> Answer[RunObject] | EventStream:
        thread = find_thread(self.project, thread_id)
        data = self.body()
        run = self.new_run(data)
        run.thread = thread
        seat = self.seat(data)
        return self.answer(transitions.create_run(thread, run, data.get("additional_messages") or ()), seat)

    @takes(ThreadRunInput, query=INCLUDE)
    def create_with_thread(self, request: Request) -> Answer[RunObject] | EventStream:
        """POST /threads/runs"""
        data = self.body()
        run = self.new_run(data)
        seat = self.seat(data)
        created = transitions.create_thread_and_run(
            self.project, data.get("thread") or {}, run, data.get("tool_resources")
        )
        return self.answer(created, seat, with_thread=True)

    def retrieve(self, request: Request, thread_id: str, run_id: str) -> Answer[RunObject]:
        return Answer(run_object(self.find(thread_id, run_id)), headers=POLL_HEADERS)

    @takes(MetadataChanges)
    def modify(self, request: Request, thread_id: str, run_id: str) -> Answer[RunObject]:
        run = self.find(thread_id, run_id)
        changed = transitions.modify_run(run, self.body().get("metadata", {}))
        return Answer(run_object(changed))

    def cancel(self, request: Request, thread_id: str, run_id: str) -> Answer[RunObject]:
        return Answer(run_object(transitions.cancel_run(self.find(thread_id, run_id))), headers=POLL_HEADERS)

    @takes(ToolOutputs)
    def submit_tool_outputs(self, request: Request, thread_id: str, run_id: str) -> Answer[RunObject] | EventStream:
        run = self.find(thread_id, run_id)
        data = self.body()
        seat = self.seat(data)
        return self.answer(transitions.submit_tool_outputs(run, data["tool_outputs"]), seat)

    @takes(query=INCLUDE)
    def steps(self, request: Request, thread_id: str, run_id: str) -> Answer[Page[StepObject]]:
        run = self.find(thread_id, run_id)
        with_content = bool(included(request))
        return paginate(run.steps.all(), request, lambda step: step_object(step, run, with_content=with_content))

    @takes(query=INCLUDE)
    def step(self, request: Request, thread_id: str, run_id: str, step_id: str) -> Answer[StepObject]:
        run = self.find(thread_id, run_id)
        step = run.steps.filter(pk=step_id).first()
        if step is None:
            raise not_found("run step", step_id)
        return Answer(step_object(step, run, with_content=bool(included(request))))


@within(Area.ANY)
class ModelViewSet(ResourceViewSet):
    """/models (contract 6): the same for every project."""

    def list(self, request: Request) -> Answer[ModelList]:
        return Answer({"object": "list", "data": [model_object(model) for model in catalogue.models()]})

    def retrieve(self, request: Request, model: str) -> Answer[ModelObject]:
        found = catalogue.find(model)
        if found is None:
            text = f"The model '{model}' does not exist"
            raise ApiError(text, status=404, param="model", code="model_not_found")
        return Answer(model_object(found))
