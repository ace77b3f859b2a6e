"""Reading what people and models wrote needs a permission of its own; what is named like a secret, nobody reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from assistants.admin.content import HIDDEN
from assistants.admin.markup import json_block, list_of, page_of
from assistants.admin.passages import passages_address
from assistants.masking import MASK, Unfolding, masked, unmasked
from assistants.models import (
    Assistant,
    Chunk,
    File,
    Message,
    Project,
    Thread,
    ThreadText,
    VectorStore,
    VectorStoreFile,
)
from runs.models import Run
from streaming.models import Event

from .conftest import Talk

SECRET = "hunter2hunter2"
SEEN = ("view_thread", "view_message", "view_event", "view_run")

NAMES = st.sampled_from(["password", "OPENAI_API_KEY", "X-Api-Key", "clientSecret", "Authorization", "db.passphrase"])
PLAIN = st.text("abcxyz 12:=,{}[]\"'\\\n", max_size=20)
NUMBERS = st.none() | st.booleans() | st.integers()
SCALARS = NUMBERS | PLAIN
LABELS = st.sampled_from(["city", "key", "name", "value", "tokens"])
HARMLESS = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LABELS, inner, max_size=3))
PATIENT = of_hypothesis(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@st.composite
def holding(draw: Any) -> Any:
    """A JSON value with SECRET somewhere in it, always below a name that says so."""
    inner: Any = draw(st.sampled_from([SECRET, [SECRET], {"x": SECRET}, {"x": [{"y": SECRET}]}]))
    value: Any = {draw(NAMES): inner} if draw(st.booleans()) else {"name": draw(NAMES), "value": inner}
    for _ in range(draw(st.integers(0, 4))):
        around = draw(st.sampled_from(["dict", "list", "string", "event"]))
        match around:
            case "dict":
                value = {**draw(st.dictionaries(st.sampled_from("abc"), SCALARS)), "inner": value}
            case "list":
                value = [*draw(st.lists(SCALARS, max_size=2)), value]
            case "string":
                value = json.dumps(value)
            case "event":
                value = {"delta": {"tool_calls": [{"function": {"arguments": json.dumps(value)}}]}}
    return value


@PATIENT
@given(holding())
def test_a_secret_is_found_by_its_name_wherever_it_stands(value: Any) -> None:
    assert SECRET not in json.dumps(masked(value))
    assert SECRET not in str(json_block(masked(value)))


@PATIENT
@given(HARMLESS)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert masked(value) == value
    assert json.loads(masked(json.dumps({"x": value}))) == {"x": value}


@PATIENT
@given(NAMES, st.integers(1, 200))
def test_a_secret_that_comes_in_pieces_is_in_none_of_them(name: str, size: int) -> None:
    """Each delta is shown alone: the name may stand in another one than the value."""
    arguments = json.dumps({"city": "Rome", name: SECRET})
    pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    shown = [masked(json.dumps({"delta": {"tool_calls": [{"function": {"arguments": one}}]}})) for one in pieces]
    found = "".join(json.loads(one)["delta"]["tool_calls"][0]["function"]["arguments"] for one in shown)
    assert "hun" not in found
    assert len(pieces) > 1 or "Rome" in found


@pytest.mark.parametrize(
    "text",
    [
        f'The answer: {{"api_key": "{SECRET}", "city": "Rome"}}',
        f'{{"city": "Rome", "api_key": "{SECRET}',
        f'Rome {{\\"secret\\": \\"{SECRET}\\"',
        f"Rome {{'password': '{SECRET}'}}",
        f"https://example.org/?city=Rome&api_key={SECRET}&x=1",
        f"city: Rome\nAuthorization: Bearer {SECRET}\n",
        f"city: Rome\n  - password: {SECRET} {SECRET}\n",
        f"city=Rome\nexport DB_PASSWORD='{SECRET}'",
        f'Rome {{"name": "OPENAI_API_KEY", "value": "{SECRET}"}}',
        f'{{"city": "Rome", "env": [{{"key":"API_KEY","value":"{SECRET}',
    ],
)
def test_text_that_looks_like_a_setting_is_masked(text: str) -> None:
    found = masked(text)
    assert SECRET not in found
    assert MASK in found
    assert "Rome" in found or text.index("Rome") > text.index(SECRET)


@pytest.mark.parametrize(
    "text", ["The secret of good tea: patience.", "Passwords are boring", "[not json", "tokens: 12", '"quoted"']
)
def test_prose_stays(text: str) -> None:
    assert masked(text) in (text, json.dumps(text))


def test_which_names_are_secret_is_a_setting(settings: Settings) -> None:
    settings.KUMOS_MASKED_FIELDS = ["iban"]
    assert masked({"IBAN": "x", "password": "y"}) == {"IBAN": MASK, "password": "y"}
    settings.KUMOS_MASKED_FIELDS = []
    assert masked("password=y") == "password=y"


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a":' * 50_000, '{"a": "\\ud800"}', "password=" * 20_000])
def test_hostile_values_are_shown_somehow(value: str) -> None:
    str(json_block(masked(value))).encode()


def test_nesting_of_stored_json_is_bounded() -> None:
    value: Any = SECRET
    for _ in range(100_000):
        value = [value]
    assert SECRET not in str(json_block(masked(value)))


def test_a_form_that_showed_a_secret_masked_keeps_it(root: Client, talk: Talk) -> None:
    Assistant.objects.filter(pk=talk.assistant.pk).update(metadata={"api_key": SECRET, "team": "support"})
    address = page_of(Assistant, talk.assistant.pk)
    page = root.get(address).content.decode()
    assert SECRET not in page
    assert MASK in page
    assert save(root, talk, {"api_key": MASK, "team": "sales"}).status_code == 302
    assert stored(talk) == {"api_key": SECRET, "team": "sales"}


def save(client: Client, talk: Talk, metadata: Any) -> Any:
    sent = {"project": talk.thread.project_id, "model": "scripted", "response_kind": "auto", "name": "Searcher"}
    return client.post(page_of(Assistant, talk.assistant.pk), {**sent, "metadata": json.dumps(metadata)})


def stored(talk: Talk) -> Any:
    return Assistant.objects.get(pk=talk.assistant.pk).metadata


WRITTEN = {
    "note": f"Authorization: Bearer {SECRET}",
    "config": f'{{"api_key": "{SECRET}","b":1}}',
    "json": '{"a":1,"b":2.50}',
    "name": "api_key",
    "value": SECRET,
}


def test_a_form_that_only_changes_the_name_keeps_the_metadata(root: Client, talk: Talk) -> None:
    Assistant.objects.filter(pk=talk.assistant.pk).update(metadata=WRITTEN)
    shown = json.loads(root.get(page_of(Assistant, talk.assistant.pk)).context["adminform"].form["metadata"].value())
    assert SECRET not in json.dumps(shown)
    assert save(root, talk, shown).status_code == 302
    assert stored(talk) == WRITTEN
    assert save(root, talk, {**shown, "json": "{}"}).status_code == 302
    assert stored(talk) == {**WRITTEN, "json": "{}"}


@pytest.mark.parametrize(
    "posted",
    [
        {"name": "x", "value": MASK},
        {"name": "x", "key": "y", "value": MASK},
        {"value": MASK},
        {"renamed": MASK},
        {"note": f"Authorization: {MASK} and more"},
        {"config": f'{{"api_key":"{MASK}"}}'},
    ],
)
def test_a_secret_is_not_read_by_changing_what_hides_it(root: Client, talk: Talk, posted: dict[str, str]) -> None:
    Assistant.objects.filter(pk=talk.assistant.pk).update(metadata=WRITTEN)
    answer = save(root, talk, posted)
    assert answer.status_code == 200
    assert "Write it anew" in answer.content.decode()
    assert SECRET not in answer.content.decode()
    assert stored(talk) == WRITTEN


TEXTS = st.sampled_from([SECRET, "api_key", "x", f"password={SECRET}", f'{{"secret":"{SECRET}"}}', '{"a":1}', MASK])
METADATA = st.dictionaries(st.sampled_from(["name", "key", "value", "api_key", "note"]), TEXTS)


@PATIENT
@given(METADATA, METADATA)
def test_no_change_of_a_form_shows_what_it_hid(was: dict[str, str], wanted: dict[str, str]) -> None:
    posted = {name: masked(was)[name] if name in was and text == "x" else text for name, text in wanted.items()}
    assert unmasked(masked(was), was) == was
    shown = masked(unmasked(posted, was))
    for name, text in shown.items():
        assert text in (posted[name], masked(was).get(name), masked(posted)[name])


@pytest.mark.parametrize("beside", [{"name": "OpenAI", "key": "OPENAI_API_KEY"}, {"name": "API_KEY", "key": "openai"}])
def test_a_pair_is_secret_by_its_name_or_its_key(beside: dict[str, str]) -> None:
    assert masked({**beside, "value": SECRET}) == {**beside, "value": MASK}


def test_json_in_a_text_stays_as_it_was_written() -> None:
    for text in ('{"a":1,"b":2.50}', " [1,\n 2]", '"\\u00e4"'):
        assert masked(text) == text
    for text in (f'{{"secret":"{SECRET}","secret":""}}', f'{{"a":{{"secret":"{SECRET}"}},"a":1}}'):
        assert SECRET not in masked(text)


# Pages ----------------------------------------------------------------------------------------------------------------


def pages_of(talk: Talk) -> list[str]:
    event = talk.thread.events.get(seq=2)
    return [
        page_of(Thread, talk.thread.pk),
        page_of(Message, talk.answer.pk),
        page_of(Event, event.pk),
        list_of(Message, q=talk.thread.pk),
        list_of(Event, q=talk.thread.pk),
    ]


def test_without_the_permission_pages_show_who_and_when_and_not_what(staff: Callable[..., Client], talk: Talk) -> None:
    Thread.objects.filter(pk=talk.thread.pk).update(metadata={"title": "Dragon talk", "customer": "c-17"})
    blind, reader = staff(*SEEN), staff(*SEEN, "read_content")
    for address in pages_of(talk):
        for client, readable in ((blind, False), (reader, True)):
            page = client.get(address).content.decode()
            told = any(text in page for text in ("The dragon.", "Dragon talk", "&quot;text&quot;"))
            assert told == (readable and not address.startswith(f"{list_of(Event)}?")), address
    page = blind.get(page_of(Thread, talk.thread.pk)).content.decode()
    assert HIDDEN.split(":")[0] in page
    assert "Searcher" in page
    assert "c-17" in page
    assert "completed" in page


def test_secrets_are_masked_for_readers_too(root: Client, talk: Talk) -> None:
    Thread.objects.filter(pk=talk.thread.pk).update(metadata={"api_key": SECRET})
    Message.objects.filter(pk=talk.answer.pk).update(metadata={"password": SECRET})
    event = talk.thread.events.get(seq=2)
    Event.objects.filter(pk=event.pk).update(data=json.dumps({"function": {"arguments": f'{{"secret": "{SECRET}"}}'}}))
    for address in pages_of(talk):
        page = root.get(address).content.decode()
        assert SECRET not in page
    assert MASK in root.get(page_of(Thread, talk.thread.pk)).content.decode()


def test_secrets_in_what_people_and_models_wrote_are_masked_for_readers_too(root: Client, talk: Talk) -> None:
    text = f"Rome\nDB_PASSWORD={SECRET} and on"
    result = {"file_id": "file-1", "file_name": "a.env", "score": 0.5, "content": [{"type": "text", "text": text}]}
    outputs = [{"type": "logs", "logs": text}, {"type": "logs", "logs": SECRET}]
    calls = [
        {"id": "call_1", "type": "file_search", "file_search": {"results": [result]}},
        {"id": "call_2", "type": "code_interpreter", "code_interpreter": {"input": text, "outputs": outputs[:1]}},
    ]
    talk.run.steps.filter(type="tool_calls").update(step_details={"type": "tool_calls", "tool_calls": calls})
    (part,) = talk.answer.content
    content = [
        {"type": "text", "text": {**part["text"], "value": text}},
        {"type": "image_url", "image_url": {"url": f"https://example.org/?api_key={SECRET}"}},
        {"type": "refusal", "refusal": text},
    ]
    Message.objects.filter(thread=talk.thread).update(content=content)
    ThreadText.objects.create(thread=talk.thread, text=f"PASSWORD={SECRET} in Rome")
    Thread.objects.filter(pk=talk.thread.pk).update(metadata={"title": f"PASSWORD={SECRET} in Rome"})
    event = talk.thread.events.get(seq=2)
    delta = {"id": "msg_1", "delta": {"content": [{"index": 0, "type": "text", "text": {"value": SECRET}}]}}
    Event.objects.filter(pk=event.pk).update(data=json.dumps(delta))
    for address in (*pages_of(talk), page_of(Run, talk.run.pk), list_of(Thread)):
        page = root.get(address).content.decode()
        assert SECRET not in page, address
        assert "Rome" in page or "event" in address, address
    page = root.get(page_of(Thread, talk.thread.pk)).content.decode()
    assert page.count(f"DB_PASSWORD={MASK}") >= 5  # texts, refusals, passages found and cited, code, output
    assert "a piece of the text, 14 characters" in root.get(page_of(Event, event.pk)).content.decode()


def test_secrets_in_files_are_masked_for_readers_too(root: Client, dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons, name="Settings")
    file = File.objects.create(project=dragons, filename="rome.env", purpose="assistants", bytes=5)
    row = VectorStoreFile.objects.create(
        vector_store=store, file=file, status="completed", attributes={"api_key": SECRET, "city": "Rome"}
    )
    text = f"Rome DB_PASSWORD={SECRET} and on"
    for position, repeated in enumerate((0, text.index(SECRET) + 3)):
        Chunk.objects.create(store_file=row, position=position, text=text, repeated=repeated)
    found = f"{page_of(VectorStore, store.pk).replace('/change/', '/search/')}?q=Rome"
    tried = f"/admin/tools/?query=Rome&store={store.pk}"
    for address in (passages_address(row), page_of(File, file.pk), found, tried):
        page = root.get(address).content.decode()
        assert SECRET[:4] not in page.replace(SECRET, "hunt"), address
        assert SECRET[3:] not in page, address
        assert f"DB_PASSWORD={MASK}" in page, address
        assert "and on" in page, address


TOLD = st.sampled_from(
    ["Rome ", "password", "API_KEY", "=", ": ", '"', "'", "{", "\n", "authorization: ", SECRET, "\\", '"value": ', ", "]
)


@PATIENT
@given(st.text("\n x", max_size=3), st.lists(TOLD, max_size=12), st.integers(1, 30), st.sampled_from([0, 5, 490, 2500]))
def test_a_text_is_shown_while_it_is_written_as_far_as_its_whole_is(
    head: str, told: list[str], size: int, long: int
) -> None:
    text = head + "x" * long + "".join(told)
    reader = Unfolding()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    shown = "".join(reader.shown(piece) for piece in pieces)
    assert text.startswith(shown)
    assert masked(text).startswith(shown) or not shown.strip()
    if masked(text) == text and not text.lstrip().startswith(("{", '"')):
        assert shown == text


@pytest.mark.parametrize(
    ("model", "query"),
    [
        (Message, "content__icontains=dragon"),
        (Message, "metadata__icontains=x"),
        (Message, "thread__project__name__startswith=D"),
        (Thread, "messages__content__icontains=dragon"),
        (Thread, "metadata__icontains=note"),
        (Event, "data__contains=script"),
    ],
)
def test_no_look_up_tells_what_the_list_hides(staff: Callable[..., Client], talk: Talk, model: Any, query: str) -> None:
    """Django answers any look-up in a table's own columns, which would tell a text letter by letter."""
    address = f"{list_of(model)}?q={talk.thread.pk}&{query}"
    assert staff(*SEEN).get(address).status_code == 400


def test_look_ups_that_links_use_are_answered(root: Client, talk: Talk) -> None:
    for query in ("created_at__gt=2020-01-01", f"project={talk.thread.project_id}", f"thread={talk.thread.pk}"):
        assert root.get(f"{list_of(Message)}?q={talk.thread.pk}&{query}").status_code in (200, 302)


def test_searching_for_a_word_of_the_content_finds_nothing(staff: Callable[..., Client], talk: Talk) -> None:
    client = staff(*SEEN)
    for model in (Message, Thread, Event):
        page = client.get(list_of(model, q="dragon")).content.decode()
        assert talk.thread.pk not in page
