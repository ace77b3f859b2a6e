"""What a fuzzed server holds, so that requests can succeed: one object of every kind, made anew when it is gone.

Schemas name them by placeholders, which stand for ids that are known only when a request is sent.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.events import Desk

NAMES = (
    "assistant_id",
    "thread_id",
    "message_id",
    "run_id",
    "step_id",
    "share_id",
    "file_id",
    "vector_store_id",
    "batch_id",
    "tool_call_id",
    "model",
)
PLACEHOLDERS: dict[str, Any] = {name: {"type": "string", "enum": [f"some_{name}"]} for name in NAMES}
LISTED = {
    "assistants": "assistant_id",
    "threads": "thread_id",
    "messages": "message_id",
    "runs": "run_id",
    "steps": "step_id",
    "shares": "share_id",
    "files": "file_id",
    "vector_stores": "vector_store_id",
}
"""The last word of a list's path → what its cursors name."""
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
ASSISTANT = {"model": "scripted", "instructions": "Be brief.", "tools": [WEATHER]}
QUESTION = {"role": "user", "content": "What is the weather in Lund?"}
WAITING = ("/cancel", "/submit_tool_outputs")


class Residents:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.ids: dict[str, str] = {"some_model": "scripted"}

    def ids_for(self, label: str) -> dict[str, str]:
        """Placeholder → id, for the operation `label` ("POST /threads"): all exist, and no run is in the way."""
        if len(self.ids) == 1 or label.startswith("DELETE"):
            self.restore()
        if "/file_batches/" in label:
            self.make_batch()
        if "/threads/" in label:
            self.make_way(waiting=label.endswith(WAITING))
        if "/shares" in label:
            self.ids["some_share_id"] = self.desk.make(f"/threads/{self.ids['some_thread_id']}/shares")["id"]
        return self.ids

    def restore(self) -> None:
        make = self.desk.make
        if not self.lives("/assistants/{}", "assistant_id"):
            self.ids["some_assistant_id"] = make("/assistants", ASSISTANT)["id"]
        if not self.lives("/files/{}", "file_id"):
            upload = self.desk.http.post("/files", data={"purpose": "assistants"}, files={"file": ("a.txt", b"Rain.")})
            self.ids["some_file_id"] = upload.json()["id"]
        if not self.lives("/vector_stores/{}", "vector_store_id"):
            self.ids["some_vector_store_id"] = make("/vector_stores")["id"]
        if not self.lives(f"/vector_stores/{self.ids['some_vector_store_id']}/files/{{}}", "file_id"):
            self.make_batch()

    def make_batch(self) -> None:
        """The file joins the store with it."""
        body = {"file_ids": [self.ids["some_file_id"]]}
        path = f"/vector_stores/{self.ids['some_vector_store_id']}/file_batches"
        self.ids["some_batch_id"] = self.desk.make(path, body)["id"]

    def lives(self, path: str, name: str) -> bool:
        id = self.ids.get(f"some_{name}")
        return id is not None and self.desk.http.get(path.format(id)).status_code == 200

    def make_way(self, *, waiting: bool) -> None:
        """A thread that nothing is at work in; with `waiting` it has a run that waits for a tool's output."""
        thread = self.ids.get("some_thread_id")
        if waiting or not self.lives(f"/threads/{thread}/messages/{{}}", "message_id"):
            self.make_thread(waiting=waiting)
            return
        (run,) = self.desk.get(f"/threads/{thread}/runs", limit=1)["data"]
        path = f"/threads/{thread}/runs/{run['id']}"
        if self.desk.ended(path)["status"] == "requires_action":
            self.desk.make(f"{path}/cancel")

    def make_thread(self, *, waiting: bool) -> None:
        """A thread with a message and a run that called a function: it waits for the output, or is cancelled."""
        body = {
            "assistant_id": self.ids["some_assistant_id"],
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            "model": "scripted",
            "thread": {"messages": [QUESTION]},
        }
        run = self.desk.make("/threads/runs", body)
        thread = f"/threads/{run['thread_id']}"
        run = self.desk.ended(f"{thread}/runs/{run['id']}")
        assert run["status"] == "requires_action", run
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        if not waiting:
            self.desk.make(f"{thread}/runs/{run['id']}/cancel")
        self.ids["some_thread_id"], self.ids["some_run_id"] = run["thread_id"], run["id"]
        self.ids["some_tool_call_id"] = call["id"]
        self.ids["some_message_id"] = self.desk.get(f"{thread}/messages")["first_id"]
        self.ids["some_step_id"] = self.desk.get(f"{thread}/runs/{run['id']}/steps")["first_id"]


def settle(desk: Desk) -> int:
    """Waits until no run of any thread is at work; how many runs there are."""
    count = 0
    after: dict[str, str] = {}
    while True:
        page = desk.get("/threads", limit=100, **after)
        for thread in page["data"]:
            runs = desk.get(f"/threads/{thread['id']}/runs", limit=100)["data"]
            count += len(runs)
            for run in runs[:1]:
                desk.ended(f"/threads/{thread['id']}/runs/{run['id']}")
        if not page["has_more"]:
            return count
        after = {"after": page["last_id"]}
