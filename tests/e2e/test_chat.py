"""The chat page in Chromium against a served Kumos: what a person sees, and what goes over the wire meanwhile.

The page's own modules (stream parser, fold, drawing) are tested here too, inside the browser that runs them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, StorageState, expect, sync_playwright

from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # milliseconds
QUESTION = "Summarize 'Project Dragon' based on all available files"

# Notes the length of the newest answer each time it changes, so that no growth depends on when a test looks.
RECORD_GROWTH = """() => {
  window.growth = [];
  new MutationObserver(() => {
    const prose = [...document.querySelectorAll(".answer .prose")].at(-1);
    const length = prose?.textContent.length ?? 0;
    if (length !== (window.growth.at(-1) ?? 0)) window.growth.push(length);
  }).observe(document.getElementById("transcript"), { subtree: true, childList: true, characterData: true });
}"""
PROSE = """() => {
  const proses = [...document.querySelectorAll(".answer .prose")].map((prose) => prose.cloneNode(true));
  proses.forEach((prose) => prose.querySelectorAll(".chip").forEach((chip) => chip.remove()));
  return proses.map((prose) => prose.textContent).join("");
}"""


class Api:
    """The public API as another client uses it."""

    def __init__(self, server: KumosProcess) -> None:
        self.http = httpx.Client(
            base_url=f"{server.url}/v1", headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False
        )

    def get(self, path: str, **params: str) -> Any:
        return self.http.get(path, params=params).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def assistant(self, name: str, **fields: Any) -> str:
        return str(self.post("/assistants", {"model": "scripted", "name": name, **fields})["id"])

    def ask(self, thread: str, assistant: str, text: str) -> str:
        self.post(f"/threads/{thread}/messages", {"role": "user", "content": text})
        return str(self.post(f"/threads/{thread}/runs", {"assistant_id": assistant})["id"])

    def recorded(self, thread: str, run: str) -> bytes:
        return self.http.get(f"/threads/{thread}/runs/{run}/stream").raise_for_status().content

    def answers(self, thread: str) -> list[Any]:
        messages = self.get(f"/threads/{thread}/messages", order="asc", limit="100")["data"]
        return [message for message in messages if message["role"] == "assistant"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def api(server: KumosProcess) -> Iterator[Api]:
    api = Api(server)
    yield api
    api.http.close()


@pytest.fixture(scope="module")
def person(browser: Browser, server: KumosProcess) -> StorageState:
    """Cookies of somebody who came through the one-time link."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.login_url)
    expect(page).to_have_url(re.compile("/chat/"))
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="module")
def searcher(api: Api) -> str:
    return api.assistant("Test Searcher", tools=[{"type": "file_search"}])


@pytest.fixture(scope="module")
def plain(api: Api) -> str:
    return api.assistant("Test Plain")


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about: script errors, console errors (CSP violations are such), foreign requests."""
    return []


@pytest.fixture
def page(browser: Browser, server: KumosProcess, person: StorageState, complaints: list[str]) -> Iterator[Page]:
    context = browser.new_context(storage_state=person, viewport={"width": 1280, "height": 820}, base_url=server.url)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: complaints.append(request.url) if not request.url.startswith((server.url, "data:")) else None,
    )
    yield page
    context.close()
    assert complaints == []


def open_new(page: Page, assistant: str) -> None:
    page.goto("/chat/")
    page.get_by_label("Assistant").select_option(assistant)
    page.evaluate(RECORD_GROWTH)


def open_thread(page: Page, thread: str) -> None:
    """Returns once the page follows the thread: what happens from now on must show."""
    with page.expect_response(lambda response: response.url.endswith("/runs/stream")):
        page.goto(f"/chat/{thread}")
    page.evaluate(RECORD_GROWTH)


def ask(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def thread_of(page: Page) -> str:
    expect(page).to_have_url(re.compile(r"/chat/thread_"))
    return page.url.rpartition("/")[2]


def wait_for_words(page: Page, count: int) -> None:
    page.wait_for_function(
        "count => (document.querySelector('.answer .prose')?.textContent.split(/\\s+/).length ?? 0) >= count", arg=count
    )


def wait_for_end(page: Page) -> None:
    """The newest thing in the transcript is a finished answer, the log is at rest, Send is back in Stop's place."""
    over = "completed failed cancelled expired incomplete"
    page.wait_for_function(
        "over => over.split(' ').includes(document.querySelector('.transcript > li:last-child')?.dataset.status)",
        arg=over,
    )
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def bare(text: str) -> str:
    """Letters of a text without its formatting and white space, for comparing what is shown with what is stored."""
    text = re.sub(r"【[^】]*】|^```\w*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^ {0,3}([-*•]|\d{1,3}[.)]|#{1,6}) +", "", text, flags=re.MULTILINE)
    return re.sub(r"[*`\s]", "", text)


def stored(message: Any) -> str:
    return "".join(part["text"]["value"] for part in message["content"])


# A person asks -------------------------------------------------------------------------------------------------------


def test_the_dragon_question_types_itself_with_citations(page: Page, api: Api, searcher: str) -> None:
    open_new(page, searcher)
    ask(page, QUESTION)
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "true")
    wait_for_end(page)
    growth = page.evaluate("window.growth")
    assert len(growth) >= 5
    assert growth == sorted(growth)

    thread = thread_of(page)
    [answer] = api.answers(thread)
    assert bare(page.evaluate(PROSE)) == bare(stored(answer))
    annotations = answer["content"][0]["text"]["annotations"]
    assert annotations
    expect(page.locator(".prose .chip")).to_have_count(len(annotations))
    expect(page.locator("details.card")).to_have_count(1)
    names = {api.get(f"/files/{one['file_citation']['file_id']}")["filename"] for one in annotations}
    expect(page.get_by_role("list", name="Sources").get_by_role("listitem")).to_have_count(len(names))
    assert api.get(f"/threads/{thread}")["metadata"]["title"] == QUESTION


def test_a_citation_opens_the_passage_it_stands_for(page: Page, api: Api, searcher: str) -> None:
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    api.recorded(thread, run)
    [answer] = api.answers(thread)
    page.goto(f"/chat/{thread}")
    cited = answer["content"][0]["text"]["annotations"][-1]
    page.locator(".prose .chip").last.click()
    file = api.get(f"/files/{cited['file_citation']['file_id']}")
    panel = page.get_by_role("complementary", name=file["filename"])
    expect(panel).to_be_visible()
    content = "step_details.tool_calls[*].file_search.results[*].content"
    steps = api.get(f"/threads/{thread}/runs/{run}/steps", order="asc", **{"include[]": content})["data"]
    marker = re.match(r"【(\d+):(\d+)†", cited["text"])
    assert marker is not None
    [call] = steps[int(marker[1])]["step_details"]["tool_calls"]
    passage = call["file_search"]["results"][int(marker[2])]
    assert passage["file_id"] == cited["file_citation"]["file_id"]
    expect(panel.locator("blockquote").first).to_have_text(passage["content"][0]["text"])
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator(".prose .chip").last).to_be_focused()


@pytest.mark.parametrize("way", ["button", "escape"])
def test_stop_keeps_what_was_said(page: Page, api: Api, plain: str, way: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 30 !long 2000")
    wait_for_words(page, 12)
    if way == "button":
        page.get_by_role("button", name="Stop", exact=True).click()
    else:
        page.keyboard.press("Escape")
    wait_for_end(page)
    expect(page.locator(".answer .state")).to_have_text("stopped")
    [answer] = api.answers(thread_of(page))
    assert answer["incomplete_details"]["reason"] == "run_cancelled"
    assert len(bare(stored(answer))) > 40
    assert bare(page.evaluate(PROSE)) == bare(stored(answer))


def test_a_reload_in_mid_answer_goes_on_with_nothing_lost_or_doubled(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!slow 25 !long 150")
    wait_for_words(page, 25)
    before = bare(page.evaluate(PROSE))
    page.reload()
    page.wait_for_selector(".answer .prose")
    assert bare(page.evaluate(PROSE)).startswith(before)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    expect(page.locator(".question")).to_have_count(1)
    wait_for_end(page)
    [answer] = api.answers(thread_of(page))
    assert bare(page.evaluate(PROSE)) == bare(stored(answer))


def test_a_run_of_an_api_client_types_itself_into_the_open_page(page: Page, api: Api, plain: str) -> None:
    thread = api.post("/threads", {"metadata": {"title": "From elsewhere"}})["id"]
    open_thread(page, thread)
    api.ask(thread, plain, "!slow 40 !long 40")
    expect(page.locator(".question")).to_have_text("!slow 40 !long 40")
    wait_for_words(page, 40)
    wait_for_end(page)
    assert len(page.evaluate("window.growth")) >= 5
    api.recorded(thread, api.ask(thread, plain, "!fast !long 12"))
    expect(page.locator(".transcript > li")).to_have_count(4)
    wait_for_end(page)
    assert bare(page.evaluate(PROSE)) == bare("".join(stored(answer) for answer in api.answers(thread)))
    expect(page.get_by_role("heading", name="From elsewhere")).to_be_visible()


def test_a_function_call_waits_for_its_output_in_the_page(page: Page, api: Api) -> None:
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    assistant = api.assistant("Test Weather", tools=[{"type": "function", "function": weather}])
    open_new(page, assistant)
    ask(page, '!call get_weather {"city": "Paris"}')
    expect(page.locator(".answer .state")).to_have_text("waiting for a tool's answer", timeout=PATIENCE)
    expect(page.locator("details.card summary")).to_contain_text("Paris")
    page.get_by_label("Output of get_weather").fill("18 degrees and light rain")
    page.get_by_role("button", name="Send the output").click()
    wait_for_end(page)
    expect(page.locator(".answer .prose")).to_contain_text("18 degrees")
    expect(page.get_by_label("Output of get_weather")).to_have_count(0)


def test_a_failed_run_says_why(page: Page, api: Api, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!fail rate_limit_exceeded after 4 words")
    wait_for_end(page)
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    expect(page.locator(".answer .state")).to_have_text(f"failed: {run['last_error']['message']}")
    assert bare(page.evaluate(PROSE)) == bare(stored(api.answers(thread)[0])) != ""


def test_markup_in_an_answer_stays_text(page: Page, plain: str) -> None:
    open_new(page, plain)
    ask(page, "!echo <img src=x onerror=alert(1)><b>bold</b> **strong** `code`")
    wait_for_end(page)
    expect(page.locator(".prose")).to_have_text("<img src=x onerror=alert(1)><b>bold</b> strong code")
    expect(page.locator(".prose img, .prose b")).to_have_count(0)
    expect(page.locator(".prose strong")).to_have_text("strong")


# Keyboard and failures -----------------------------------------------------------------------------------------------


def test_enter_sends_but_not_while_an_input_method_composes(page: Page, plain: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    open_new(page, plain)
    box = page.get_by_label("Your message")
    box.fill("!fast !echo かな")
    for composing in ({"isComposing": True}, {"keyCode": 229}):
        box.dispatch_event("keydown", {"key": "Enter", "bubbles": True, "cancelable": True, **composing})
    box.press("Shift+Enter")
    expect(box).to_have_value("!fast !echo かな\n")
    assert sent == []
    box.press("Enter")
    wait_for_end(page)
    expect(page.locator(".question")).to_have_text("!fast !echo かな")
    expect(box).to_have_value("")


def test_a_text_that_could_not_be_sent_stays_and_retry_sends_it_once(
    page: Page, api: Api, plain: str, complaints: list[str]
) -> None:
    thread = api.post("/threads", {})["id"]
    open_thread(page, thread)
    page.get_by_label("Assistant").select_option(plain)

    def cut(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route("**/messages*", cut)
    ask(page, "!fast !long 5")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Your message")).to_have_value("!fast !long 5")
    complaints.clear()
    page.unroute("**/messages*")
    page.get_by_role("button", name="Retry").click()
    wait_for_words(page, 5)
    wait_for_end(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    roles = [message["role"] for message in api.get(f"/threads/{thread}/messages", order="asc")["data"]]
    assert roles == ["user", "assistant"]


def test_a_missing_thread_is_named_with_the_request_id(page: Page, complaints: list[str]) -> None:
    page.goto("/chat/thread_missing0000000000000000")
    expect(page.get_by_role("alert")).to_contain_text("No thread found with id 'thread_missing0000000000000000'.")
    expect(page.get_by_role("alert")).to_contain_text(re.compile("req_[0-9a-f]{32}"))
    complaints.clear()  # Chromium logs every 404


def test_a_restart_of_the_server_is_bridged(
    page: Page, api: Api, server: KumosProcess, plain: str, complaints: list[str]
) -> None:
    open_new(page, plain)
    ask(page, "!slow 15 !long 150")
    wait_for_words(page, 15)
    server.restart()
    wait_for_end(page)
    expect(page.locator("#banner")).to_be_hidden()
    thread = thread_of(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    assert run["status"] == "completed"
    assert bare(page.evaluate(PROSE)) == bare("".join(stored(answer) for answer in api.answers(thread)))
    complaints.clear()  # the refused connections meanwhile


def test_logged_out_people_are_sent_to_the_login_page(browser: Browser, server: KumosProcess) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}/chat/")
    expect(page).to_have_url(re.compile(r"/admin/login/\?next=/chat/"))
    context.close()


# The page's modules --------------------------------------------------------------------------------------------------


@pytest.fixture
def module(page: Page) -> Callable[[str, Any], Any]:
    """Runs `code`, the body of a function of `m` (all modules) and `given`, in the page."""
    page.goto("/chat/")
    names = ("stream", "thread", "markup", "prose")
    imports = ",".join(f"...await import('/static/chat/{name}.js')" for name in names)

    def run(code: str, given: Any) -> Any:
        return page.evaluate(f"async (given) => {{ const m = {{{imports}}}; {code} }}", given)

    return run


@pytest.fixture(scope="module")
def recording(api: Api, searcher: str) -> tuple[str, str, bytes]:
    """(thread, run, bytes) of a whole run with a search, citations and characters of several bytes."""
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    return thread, run, api.recorded(thread, run)


def test_a_stream_cut_anywhere_gives_the_same_frames(
    module: Callable[[str, Any], Any], recording: tuple[str, str, bytes]
) -> None:
    stream = recording[2].replace(b"\n\nid:", b"\n\n: keep-alive\nid:")
    expected = [
        (
            [line[4:] for line in block.split("\n") if line.startswith("id: ")],
            [line[7:] for line in block.split("\n") if line.startswith("event: ")],
            [line[6:] for line in block.split("\n") if line.startswith("data: ")],
        )
        for block in stream.decode().split("\n\n")
        if block
    ]
    frames = module(
        """
        const bytes = Uint8Array.from(given.bytes);
        const read = (pieces) => {
          const frames = [];
          const parser = new m.FrameParser((frame) => frames.push(frame));
          pieces.forEach((piece) => parser.push(piece));
          return frames;
        };
        const whole = read([bytes]);
        let seed = 7;
        const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
        for (let round = 0; round < 200; round += 1) {
          const cut = Math.floor(random() * bytes.length);
          const again = read([bytes.slice(0, cut), bytes.slice(cut)]);
          if (JSON.stringify(again) !== JSON.stringify(whole)) throw new Error(`differs when cut at ${cut}`);
        }
        const single = read(Array.from(bytes, (byte) => Uint8Array.of(byte)));
        if (JSON.stringify(single) !== JSON.stringify(whole)) throw new Error("differs byte by byte");
        return whole;
        """,
        {"bytes": list(stream)},
    )
    assert [([f["id"]] if f["id"] else [], [f["event"]], [f["data"]]) for f in frames] == expected


def test_events_folded_give_what_the_api_answers_and_repeats_change_nothing(
    module: Callable[[str, Any], Any], recording: tuple[str, str, bytes], api: Api
) -> None:
    thread, run, stream = recording
    folded = module(
        """
        const frames = [];
        new m.FrameParser((frame) => frames.push(frame)).push(Uint8Array.from(given.bytes));
        const before = frames.findLastIndex((frame) => frame.event === "thread.message.completed");
        const model = new m.Thread("t");
        // A page that loads the list while the run goes on knows the message from both; in the list it has no text yet.
        frames.slice(0, before - 3).forEach((frame) => model.apply(frame));
        const empty = { status: "in_progress", content: [] };
        model.offerNewest(given.messages.map((one) => (one.role === "assistant" ? { ...one, ...empty } : one)));
        frames.slice(0, before).forEach((frame) => model.apply(frame));
        const streamed = structuredClone([...model.messages.values()].findLast((one) => one.role === "assistant"));
        frames.forEach((frame) => model.apply(frame));
        const again = frames.map((frame) => model.apply(frame));
        const turns = model.turns();
        return { streamed, again, turns, runs: [...model.runs.values()], steps: [...model.steps.values()] };
        """,
        {"bytes": list(stream), "messages": api.get(f"/threads/{thread}/messages", order="asc")["data"]},
    )
    [answer] = api.answers(thread)
    own = {"live", "version", "index", "quote"}  # what the page adds, and what only deltas carry

    def plainly(value: Any) -> Any:
        return json.loads(json.dumps(value), object_hook=lambda found: {k: v for k, v in found.items() if k not in own})

    assert plainly(folded["streamed"])["content"] == answer["content"]
    assert not any(folded["again"])
    assert [plainly(one) for one in folded["runs"]] == [api.get(f"/threads/{thread}/runs/{run}")]
    steps = api.get(f"/threads/{thread}/runs/{run}/steps", order="asc")["data"]
    assert [one["step_details"] for one in folded["steps"]] == [one["step_details"] for one in steps]
    kinds = [[sorted(part)[1] for part in turn.get("parts", [])] or "message" for turn in folded["turns"]]
    assert kinds == ["message", ["step", "message"]]


def test_text_drawn_piece_by_piece_looks_like_text_drawn_at_once(module: Callable[[str, Any], Any]) -> None:
    text = (
        "# Plan\n\nOne **bold\nword** and `code` 🐉 then 【0:1†source】 and 【0:1†source】.\n"
        "- first\n- second **strong**\n  goes on\n-\n- third\n"
        "1. one\n2. two\n\n```py\n- no list\n**no bold**\n```\nlast `open and **open\n\n* * *\n**"
    )
    marker = "【0:1†source】"
    annotations = [
        {
            "type": "file_citation",
            "text": marker,
            # Counts code points, as the API does; JavaScript counts one more for the dragon.
            "start_index": found.start(),
            "end_index": found.end(),
            "file_citation": {"file_id": "file-1"},
        }
        for found in re.finditer(marker, text)
    ]
    drawn = module(
        """
        const { text, marker, annotations } = given;
        const chip = () => Object.assign(document.createElement("a"), { className: "chip", textContent: "1" });
        const markers = [...text.matchAll(marker)].map((found) => [found.index, found.index + marker.length]);
        const draw = (prose, end, growing) => {
          // A marker and its annotation always come in one piece.
          if (markers.some(([from, to]) => from < end && end < to)) return;
          prose.update(text.slice(0, end), annotations.slice(0, markers.filter(([, to]) => to <= end).length), growing);
        };
        const whole = new m.Prose({ chip });
        draw(whole, text.length, false);
        for (const size of [1, 2, 3, 5, 8, 13]) {
          const prose = new m.Prose({ chip });
          for (let end = size; end < text.length; end += size) draw(prose, end, true);
          draw(prose, text.length, false);
          if (prose.element.innerHTML !== whole.element.innerHTML)
            throw new Error(`pieces of ${size}: ${prose.element.innerHTML} not ${whole.element.innerHTML}`);
        }
        return whole.element.innerHTML;
        """,
        {"text": text, "marker": marker, "annotations": annotations},
    )
    assert drawn.startswith(
        '<h3>Plan</h3><p>One <strong>bold\nword</strong> and <code>code</code> 🐉 then <a class="chip">1</a>'
        ' and <a class="chip">1</a>.</p>'
        "<ul><li>first</li><li>second <strong>strong</strong>\n  goes on</li></ul>"
    )
    assert '<pre tabindex="0">- no list\n**no bold**</pre><p>last `open and **open</p>' in drawn
