"""The event inspector beside the chat: every event once, tied to what it drew; replay; a line that is cut."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.chat.browsing import (
    PROSE,
    QUESTION,
    Api,
    assert_drawn_as_stored,
    open_new,
    open_thread,
    thread_of,
    wait_for_end,
    wait_for_words,
)
from tests.e2e.events import Frame, frames

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]

NOTE = ".event-note"


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Event inspector")


def opened(page: Page) -> Locator:
    page.get_by_role("button", name="Event inspector").click()
    expect(panel(page)).to_be_visible()
    return panel(page)


def kept(api: Api, thread: str, run: str) -> list[Frame]:
    return [frame for frame in frames(api.recorded(thread, run)) if frame.id is not None]


def raw(frame: Frame) -> str:
    return f"id: {frame.id}\nevent: {frame.name}\ndata: {frame.data}\n\n"


def said_up_to(story: list[Frame], position: int) -> str:
    deltas = [frame.object["delta"]["content"] for frame in story[:position] if frame.name == "thread.message.delta"]
    return "".join(part["text"].get("value", "") for content in deltas for part in content)


def wait_for_count(page: Page, count: int) -> None:
    expect(panel(page).locator(".event-count")).to_have_text(re.compile(rf"^{count} events · "))


def expect_detail(page: Page, frame: Frame) -> None:
    expect(panel(page).get_by_role("heading", name=f"{frame.id} {frame.name}")).to_be_visible()
    assert panel(page).get_by_role("region", name="Frame").text_content() == raw(frame)
    shown = panel(page).get_by_role("region", name="Data").text_content()
    assert json.loads(shown or "") == frame.object


def test_a_run_of_an_api_client_is_listed_event_by_event_and_tied_to_what_it_drew(
    page: Page, api: Api, searcher: str
) -> None:
    thread = api.post("/threads", {"metadata": {"title": "From elsewhere"}})["id"]
    open_thread(page, thread)
    inspector = opened(page)
    run = api.ask(thread, searcher, QUESTION)
    wait_for_words(page, 10)  # it types here, and the list follows its end
    events = inspector.get_by_role("listbox", name="Events")
    expect(events.get_by_role("option").last).to_contain_text("message.delta")
    wait_for_end(page)
    story = kept(api, thread, run)
    wait_for_count(page, len(story))
    assert events.get_by_role("option").count() < 60 < len(story)

    events.press("End")
    events.press("Enter")
    expect_detail(page, story[-1])
    expect(page.locator(".answer.pointed")).to_have_count(1)
    for _ in range(2):
        events.press("ArrowUp")
    expect_detail(page, story[-3])
    assert story[-3].name == "thread.message.completed"
    expect(page.locator(".prose.pointed")).to_have_count(1)
    expect(page.locator(".pointed")).to_have_count(1)
    active = events.get_attribute("aria-activedescendant")
    expect(inspector.locator(f"#{active}")).to_have_attribute("aria-selected", "true")

    line = inspector.get_by_role("region", name="Replay from here").text_content() or ""
    found = re.fullmatch(r'curl -N "http://[^/]+/v1(/\S+)" -H "Authorization: Bearer \$KUMOS_API_KEY"', line)
    assert found is not None, line
    with api.http.stream("GET", found[1]) as answer:
        assert next(answer.iter_lines()) == f"id: {story[-3].id}"

    events.press("Home")
    expect_detail(page, story[0])
    page.locator("details.card > summary").first.click()
    last_of_step = [frame for frame in story if frame.name.startswith("thread.run.step.")][2:]
    completed = next(frame for frame in last_of_step if frame.name == "thread.run.step.completed")
    expect_detail(page, completed)
    page.locator(".prose").click(position={"x": 5, "y": 5})
    expect_detail(page, story[-2])  # the step that wrote the message
    expect(page.locator(".prose.pointed")).to_have_count(1)

    inspector.get_by_role("button", name="Deltas").click()
    few = [frame for frame in story if not frame.name.endswith(".delta")]
    expect(inspector.locator(".event-count")).to_contain_text(f"{len(few)} of {len(story)}")
    inspector.get_by_role("searchbox", name="Filter events").fill("Run.Completed")
    expect(events.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(inspector.get_by_role("heading")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(inspector).to_be_hidden()
    expect(page.get_by_role("button", name="Event inspector")).to_be_focused()


def test_a_line_that_is_cut_is_noted_where_it_was_and_nothing_is_missing_or_twice(
    page: Page, api: Api, plain: str
) -> None:
    open_new(page, plain)
    opened(page)
    page.get_by_label("Your message").fill("!slow 12 !long 120")
    page.keyboard.press("Enter")
    wait_for_words(page, 15)
    page.reload()  # remembered: it is open, reads what was, and goes on with what comes
    wait_for_words(page, 20)
    inspector = panel(page)
    inspector.get_by_role("button", name="Deltas").click()  # so that the note is in view
    inspector.get_by_role("button", name="Drop my connection").click()
    expect(page.locator("#banner")).to_contain_text("reconnecting")
    expect(inspector.locator(NOTE)).to_have_text(re.compile(r"line was cut here, went on behind event \d+"))
    expect(page.locator("#banner")).to_be_hidden()
    behind = int(re.findall(r"\d+", inspector.locator(NOTE).text_content() or "")[0])
    thread = thread_of(page)
    wait_for_end(page)
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    assert run["status"] == "completed"
    story = kept(api, thread, run["id"])
    assert 0 < behind < story[-1].id  # type: ignore[operator]
    assert_drawn_as_stored(page, api.answers(thread))
    inspector.get_by_role("button", name="Deltas").click()
    wait_for_count(page, len(story))

    page.get_by_role("tab", name="Events").press("ArrowRight")
    steps = page.get_by_role("tabpanel", name="Steps")
    expect(steps.get_by_role("button", name=re.compile(r"^Run 1 .*completed"))).to_be_visible()
    expect(steps.get_by_role("button", name=re.compile(r"^Message .*completed"))).to_be_visible()
    page.get_by_role("tab", name="Steps").press("ArrowRight")
    context = page.get_by_role("tabpanel", name="Context")
    expect(context).to_contain_text(f"= {run['usage']['total_tokens']} tokens")
    expect(context).to_contain_text("scripted")


def test_a_finished_run_is_scrubbed_and_replayed_while_another_one_goes_on(page: Page, api: Api, plain: str) -> None:
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, plain, "!slow 30 !long 40")
    story = kept(api, thread, run)
    open_thread(page, thread)
    inspector = opened(page)
    wait_for_count(page, len(story))
    inspector.get_by_role("button", name="Replay run 1").click()
    bar = page.get_by_role("region", name="Replay")
    slider = bar.get_by_role("slider", name="Event")
    expect(slider).to_be_focused()
    expect(page.locator(".answer")).to_have_count(0)
    for position in (len(story) - 3, 15, 12, 13):
        slider.fill(str(position))
        expect(bar).to_contain_text(f"event {position} of {len(story)}")
        expect(inspector.locator(".event[aria-selected=true]")).to_have_attribute(
            "data-seq", str(story[position - 1].id)
        )
        page.wait_for_function(f"text => ({PROSE})().trimEnd() === text", arg=said_up_to(story, position).rstrip())
    bar.get_by_role("button", name="One event on").click()
    expect(bar).to_contain_text(f"event 14 of {len(story)}")
    slider.press("ArrowLeft")
    expect(bar).to_contain_text(f"event 13 of {len(story)}")

    later = api.ask(thread, plain, "!fast !echo Meanwhile something else happened")
    api.recorded(thread, later)
    wait_for_count(page, len(story) + len(kept(api, thread, later)))
    expect(page.locator(".question")).to_have_count(1)
    bar.get_by_role("button", name="10 times the speed").click()
    bar.get_by_role("button", name="Play", exact=True).click()
    expect(bar).to_contain_text(f"event {len(story)} of {len(story)}")
    expect(bar.get_by_role("button", name="Play", exact=True)).to_be_visible()
    expect(page.locator(".prose")).to_have_count(1)
    bar.get_by_role("button", name="Back to now").click()
    expect(bar).to_be_hidden()
    expect(page.locator(".question")).to_have_count(2)
    wait_for_end(page)
    assert_drawn_as_stored(page, api.answers(thread))


def test_on_a_phone_it_is_a_sheet_over_the_page(page: Page, api: Api, plain: str) -> None:
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, plain, "!fast !long 12")
    story = kept(api, thread, run)
    page.set_viewport_size({"width": 360, "height": 740})
    open_thread(page, thread)
    inspector = opened(page)
    wait_for_count(page, len(story))
    assert inspector.bounding_box() == {"x": 0, "y": 0, "width": 360, "height": 740}
    expect(page.locator("main")).to_have_attribute("inert", "")
    inspector.get_by_role("button", name="Replay run 1").click()
    expect(inspector).to_be_hidden()  # the transcript is what one wants to see
    expect(page.get_by_role("slider", name="Event")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Replay")).to_be_hidden()
    assert_drawn_as_stored(page, api.answers(thread))


MADE = """
  const { EventLog } = await import("/static/chat/events.js");
  const { EventList } = await import("/static/chat/eventlist.js");
  const run = JSON.stringify({ id: "run_1", status: "queued" });
  const frame = (seq) => {
    if (seq === 1) return { id: "1", event: "thread.run.created", data: run, at: 100 };
    const data = JSON.stringify({ id: "msg_1", delta: { content: [{ index: 0, text: { value: `word ${seq} ` } }] } });
    return { id: String(seq), event: "thread.message.delta", data, at: 100 + seq / 50 };
  };
"""


def test_what_is_read_and_what_comes_live_meet_without_gap_or_double(page: Page) -> None:
    page.goto("/chat/")
    joined: Any = page.evaluate(
        f"""async () => {{ {MADE}
          let seed = 11;
          const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
          const results = [];
          for (let round = 0; round < 300; round += 1) {{
            const [log, total] = [new EventLog(), 1 + random(40)];
            const from = 1 + random(total); // the page's own line began there, before the log is read
            for (let seq = from, read = 1; seq <= total || read <= total; ) {{
              if (seq <= total && (read > seq || read > total || random(2))) log.live(frame(seq++));
              else if (read < seq || random(2)) {{ if (!log.whole) log.read(frame(read)); read += 1; }}
            }}
            results.push([total, log.entries.map((entry) => entry.seq)]);
          }}
          const rest = new EventLog(); // a thread that rests: its log is read until it says that there is no more
          for (let seq = 1; seq <= 5; seq += 1) rest.read(frame(seq));
          rest.join();
          rest.live(frame(5));
          rest.live(frame(6));
          results.push([6, rest.entries.map((entry) => entry.seq)]);
          const old = new EventLog();
          Object.assign(old, {{ whole: true, compacted: true }});
          for (const seq of [1, 2, 3, 40]) old.live(frame(seq));
          return {{ results, missing: [1, 2, 3].map((at) => old.missingBefore(at)) }};
        }}"""
    )
    for total, seqs in joined["results"]:
        assert seqs == list(range(1, total + 1))
    assert joined["missing"] == [0, 0, 36]


def test_twenty_thousand_events_are_a_list_like_any_other(page: Page) -> None:
    page.goto("/chat/")
    seen: Any = page.evaluate(
        f"""async () => {{ {MADE}
          const list = new EventList({{ onSelect: () => {{}}, onOpen: () => {{}}, onCount: () => {{}} }});
          const log = new EventLog();
          log.whole = true;
          const host = document.createElement("div");
          host.style.cssText = "position: fixed; inset: 0 0 auto auto; display: flex; width: 400px; height: 600px";
          host.append(list.element);
          document.body.append(host);
          list.show(log);
          for (let seq = 1; seq <= 20_000; seq += 1) log.live(frame(seq));
          list.grow();
          const drawn = async () => {{
            for (let at = 0; at < 3; at += 1) await new Promise(requestAnimationFrame); // scrolling draws a frame later
            const rows = [...list.box.querySelectorAll(".event")];
            const seqs = rows.map((row) => Number(row.dataset.seq)).sort((one, other) => one - other);
            return {{ count: seqs.length, first: seqs[0], last: seqs.at(-1), selected: list.selected?.seq }};
          }};
          const key = (name) => list.box.dispatchEvent(new KeyboardEvent("keydown", {{ key: name, bubbles: true }}));
          const steps = [await drawn()];
          for (const name of ["Home", "End", "PageUp"]) {{ key(name); steps.push(await drawn()); }}
          list.box.scrollTop = list.box.scrollHeight / 2;
          steps.push(await drawn());
          list.filter.text = "word 1777 ";
          list.rebuild();
          steps.push(await drawn());
          return steps;
        }}"""
    )
    end, home, again, up, middle, found = seen
    assert (end["last"], again["last"]) == (20_000, 20_000)  # it follows
    assert (home["first"], home["selected"], again["selected"], up["selected"]) == (1, 1, 20_000, 19_990)
    assert middle["first"] < 10_000 < middle["last"]
    assert (found["count"], found["first"]) == (1, 1777)
    assert max(one["count"] for one in seen) < 60
