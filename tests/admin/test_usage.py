"""What was used, by whom and at what cost: sums by everything, as a page and as CSV, for whom may see it."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from assistants import clock, keys
from assistants.admin.markup import page_of
from assistants.models import ApiKey, Assistant, Project
from kumos_site import usage_names, usage_page
from runs import usage
from runs.admin import price as admin_price
from runs.models import ModelPrice, UsageRecord

from .conftest import HOSTILE, SHOWN

PAGE = "/admin/usage/"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def on_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def used(project: Project, cost: int | None = 0, *, at: datetime = NOW, status: str = "completed", **more: Any) -> None:
    fields = {"model": "gpt-4o", "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 5, **more}
    UsageRecord.objects.create(
        run_id=f"run_{UsageRecord.objects.count()}", project=project, cost=cost, ended_at=at, status=status, **fields
    )


def text(client: Client, query: str = "") -> str:
    answer = client.get(PAGE + query)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def table(page: str) -> list[list[str]]:
    """The cells of each line, without head and links behind names."""
    body = page[page.index("<tbody>") :].partition("</table>")[0]
    lines = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    return [
        [
            " ".join(re.sub(r"<[^>]+>", "", re.sub(r'<a class="kumos-id".*?</a>', "", cell)).split())
            for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line, re.S)
        ]
        for line in lines
    ]


def rows(answer: Any) -> list[dict[str, str]]:
    content = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(content)))


@pytest.fixture
def elves(db: None) -> Project:
    return Project.objects.create(name="Elves")


def test_by_project_this_month_with_a_total(root: Client, dragons: Project, elves: Project) -> None:
    used(dragons, 2_000_000)
    used(dragons, 500_000, status="failed")
    used(elves, 3_000_000, at=NOW.replace(day=1, hour=0))
    used(elves, 9_000_000, at=NOW.replace(day=1, hour=0) - timedelta(microseconds=1))
    assert table(text(root)) == [
        ["Elves", "1", "0", "10", "4", "5", "$3.00", "–"],
        ["Dragons", "2", "1", "20", "8", "10", "$2.50", "–"],
        ["Together", "3", "1", "30", "12", "15", "$5.50", "–"],
    ]


def test_keys_that_follow_each_other_are_one_line(root: Client, dragons: Project) -> None:
    first, _ = ApiKey.issue(dragons, "billing")
    second, _ = keys.rotate(first, timedelta(hours=1), None)
    third, _ = keys.rotate(second, timedelta(hours=1), None)
    other, _ = ApiKey.issue(dragons, "other")
    used(dragons, 2_000_000, made_by=first.succession)
    used(dragons, 1_000_000, made_by=third.succession)
    used(dragons, 7, made_by=other.succession)
    page = text(root, "?by=made_by")
    line = [f"billing ({third.prefix}…) and 2 before it", "2", "0", "20", "8", "10", "$3.00", "–"]
    assert table(page)[0] == line
    assert page_of(ApiKey, third.pk) in page
    for key in (first, second, third):
        assert table(text(root, f"?by=made_by&made_by={key.pk}"))[0] == line
        others = {page_of(ApiKey, one.pk) for one in (first, second, third) if one != key}
        shown = root.get(page_of(ApiKey, key.pk)).content.decode()
        assert {address for address in others if f'"{address}"' in shown} == others
    (row, _) = rows(root.get(f"{PAGE}?by=made_by&format=csv"))
    assert (row["id"], row["name"], row["runs"]) == (first.pk, line[0], "2")


def test_by_key_or_person_by_assistant_and_by_model(root: Client, dragons: Project) -> None:
    key, _ = ApiKey.issue(dragons, "billing")
    user = User.objects.get(username="root")
    assistant = Assistant.objects.create(project=dragons, model="gpt-4o", name="Searcher")
    used(dragons, 3, made_by=key.pk, assistant_id=assistant.pk)
    used(dragons, 2, made_by=f"user {user.pk}", assistant_id="asst_gone", model="o3")
    used(dragons, 1)
    names = [line[0] for line in table(text(root, "?by=made_by"))]
    assert names == [f"billing ({key.prefix}…)", "root", "(nobody known)", "Together"]
    assert [line[0] for line in table(text(root, "?by=assistant"))][:2] == ["Searcher", "asst_gone"]
    assert [line[:2] for line in table(text(root, "?by=model"))] == [["gpt-4o", "2"], ["o3", "1"], ["Together", "3"]]


def test_by_day_and_by_month(root: Client, dragons: Project) -> None:
    for day in (1, 1, 2):
        used(dragons, 1_000_000, at=datetime(2026, 11, day, 23, 59, 59, 999999, tzinfo=UTC))
    used(dragons, 1_000_000, at=datetime(2026, 10, 31, tzinfo=UTC))
    lines = table(text(root, "?over=day"))
    assert [line[:3] for line in lines[:-1]] == [["2026-11-02", "Dragons", "1"], ["2026-11-01", "Dragons", "2"]]
    lines = table(text(root, "?over=month&since=2026-10-01&until=2026-11-30"))
    assert [line[:3] for line in lines[:-1]] == [["2026-11", "Dragons", "3"], ["2026-10", "Dragons", "1"]]


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ("?period=today", 1),
        ("?period=yesterday", 2),
        ("?period=week", 3),
        ("?period=month", 4),
        ("?period=last-month", 5),
        ("?since=2026-11-19&until=2026-11-19", 2),
        ("?until=2026-10-31", 5),
        ("?since=2026-11-20", 1),
    ],
)
def test_periods(root: Client, dragons: Project, query: str, runs: int) -> None:
    yesterday = [NOW.replace(day=19, hour=hour) for hour in (0, 23)]
    for at in (NOW.replace(hour=0), *yesterday, NOW.replace(day=13), *[NOW.replace(month=10)] * 5):
        used(dragons, at=at)
    assert table(text(root, query))[-1][1] == str(runs)


def test_filters(root: Client, dragons: Project, elves: Project) -> None:
    used(dragons, model="o3", made_by="user 7", assistant_id="asst_1")
    used(elves, status="failed", model="o4", made_by="key_1", assistant_id="asst_2")
    for query in ("model=o3", f"project={dragons.pk}", "made_by=user+7", "assistant=asst_1"):
        assert table(text(root, f"?by=model&{query}")) == [
            ["o3", "1", "0", "10", "4", "5", "$0.00", "–"],
            ["Together", "1", "0", "10", "4", "5", "$0.00", "–"],
        ]
    assert [line[0] for line in table(text(root, "?failed=on"))] == ["Elves", "Together"]


def test_what_has_no_price_is_counted_apart_and_never_nothing(root: Client, dragons: Project, elves: Project) -> None:
    used(dragons, None)
    used(dragons, 1_000_000)
    used(elves, None)
    page = text(root)
    assert [line[-2:] for line in table(page)] == [["$1.00", "1"], ["unknown", "1"], ["$1.00", "2"]]
    assert "2 runs used models whose price nobody has told" in page
    found = {line["name"]: line for line in rows(root.get(f"{PAGE}?format=csv"))}
    assert (found["Dragons"]["cost_usd"], found["Dragons"]["runs_without_known_price"]) == ("1.000000", "1")
    assert (found["Elves"]["cost_usd"], found["Elves"]["runs_without_known_price"]) == ("", "1")


def test_as_csv_all_rows_go(root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_page, "ROWS_SHOWN", 3)
    monkeypatch.setattr(usage_page, "NAMED_AT_ONCE", 2)
    for index in range(8):
        used(dragons, index, made_by=f"key_{index}", at=NOW - timedelta(days=index % 2))
    page = text(root, "?by=made_by&over=day")
    assert len(table(page)) == 4
    assert "These are 3 of more rows" in page
    answer = root.get(f"{PAGE}?by=made_by&over=day&format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "kumos-usage-2026-11-01-2026-11-20-by-made_by.csv" in answer.headers["Content-Disposition"]
    found = rows(answer)
    assert [line["day"] for line in found] == ["2026-11-20"] * 4 + ["2026-11-19"] * 4
    assert found[0] == {
        "day": "2026-11-20",
        "id": "key_6",
        "name": "key_6",
        "runs": "1",
        "failed": "0",
        "prompt_tokens": "10",
        "cached_tokens": "4",
        "completion_tokens": "5",
        "cost_usd": "0.000006",
        "runs_without_known_price": "0",
    }


@pytest.mark.parametrize("name", ["=1+1", "@x", "-1"])
def test_no_name_is_a_formula(root: Client, dragons: Project, name: str) -> None:
    Project.objects.filter(pk=dragons.pk).update(name=name)
    used(dragons)
    assert rows(root.get(f"{PAGE}?format=csv"))[0]["name"] == f"'{name}"


def test_names_are_text(root: Client, dragons: Project) -> None:
    used(dragons, model=HOSTILE)
    page = text(root, "?by=model")
    assert HOSTILE not in page
    assert SHOWN in page


@pytest.mark.parametrize(
    "query",
    [
        "?by=nonsense",
        "?over=second",
        "?period=ever",
        "?since=2026-99-01",
        "?since=2026-02-01&until=2026-01-01",
        "?since=2020-01-01&until=2026-01-01",
        "?since=0001-01-01",
        "?until=9999-12-31",
        "?since=9999-12-31&until=9999-12-31",
        "?model=" + "x" * 300,
    ],
)
@pytest.mark.parametrize("format", ["", "&format=csv"])
def test_what_cannot_be_asked_is_told(root: Client, dragons: Project, query: str, format: str) -> None:
    answer = root.get(PAGE + query + format)
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()


def test_too_much_is_not_summed(root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_page, "ROWS_SUMMED", 2)
    used(dragons)
    used(dragons)
    text(root)
    used(dragons)
    answer = root.get(PAGE)
    assert answer.status_code == 400
    assert "More than 2 runs ended in that time" in answer.content.decode()


def test_empty_it_says_what_to_do(root: Client) -> None:
    assert "Nothing was used in that time" in text(root)
    assert rows(root.get(f"{PAGE}?format=csv")) == []


def test_it_is_for_whom_may_see_it(client: Client, staff: Callable[..., Client], dragons: Project) -> None:
    used(dragons)
    assert client.get(PAGE).headers["Location"].startswith("/admin/login/")
    other = staff("view_run")
    assert [other.get(address).status_code for address in (PAGE, f"{PAGE}?format=csv")] == [403, 403]
    seen = staff("view_usagerecord").get(PAGE)
    assert seen.status_code == 200
    assert "Tell their prices" not in seen.content.decode()


def choices(page: str, name: str) -> dict[str, str] | None:
    """What the field has to choose from, value → name; None where one types."""
    found = re.search(rf'<select name="{name}".*?</select>', page, re.S)
    return dict(re.findall(r'<option value="([^"]*)"[^>]*>(.*?)</option>', found[0])) if found else None


def test_what_to_sum_is_picked_by_name(root: Client, dragons: Project, elves: Project) -> None:
    first, _ = ApiKey.issue(dragons, f"billing {HOSTILE}")
    second, _ = keys.rotate(first, timedelta(hours=1), None)
    user = User.objects.get(username="root")
    saved = Assistant.objects.create(project=dragons, model="mine", name="Searcher")
    Assistant.objects.create(project=dragons, model="mine", name="Half a searcher", scratch_of=user)
    used(dragons, 7, model="o3")
    page = text(root)
    assert HOSTILE not in page
    assert choices(page, "project") == {"": "All", dragons.pk: "Dragons", elves.pk: "Elves"}
    assert choices(page, "assistant") == {"": "All", saved.pk: "Searcher"}
    makers = {"": "All", first.pk: f"billing {SHOWN} ({second.prefix}…) and 1 before it", f"user {user.pk}": "root"}
    assert choices(page, "made_by") == makers
    assert set(re.findall(r'<option value="(\w+)"></option>', page)) == {"mine", "o3"}


def test_what_is_asked_for_is_chosen_and_kept_in_the_file(root: Client, dragons: Project, elves: Project) -> None:
    used(dragons, 7, model="o3")
    used(elves, 8, model="o3")
    page = text(root, f"?by=model&project={dragons.pk}&assistant=&model=o3&period=today")
    assert f'<option value="{dragons.pk}" selected>Dragons' in page
    (address,) = re.findall(r'<a class="button" href="(\?[^"]*)">As CSV', page)
    (row,) = rows(root.get(PAGE + html.unescape(address)))
    assert (row["id"], row["runs"], row["cost_usd"]) == ("o3", "1", "0.000007")
    gone = text(root, "?assistant=asst_gone&made_by=key_gone")
    assert '<option value="asst_gone" selected>asst_gone' in gone
    assert '<option value="key_gone" selected>key_gone' in gone
    assert root.get(f"{PAGE}?project=%00&made_by=%00").status_code == 400


def test_where_there_are_too_many_an_id_is_typed(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_names, "LISTED", 2)
    for number in range(2):
        Project.objects.create(name=f"p{number}")
        ApiKey.issue(dragons, f"key {number}")
    page = text(root, f"?project={dragons.pk}")
    assert choices(page, "project") is None
    assert re.search(rf'<input type="text" name="project" value="{dragons.pk}"', page)
    assert "Project (id)" in page
    assert choices(page, "made_by") is not None
    ApiKey.issue(dragons, "one more")
    assert choices(text(root), "made_by") is None


@pytest.mark.parametrize("by", ["project", "made_by", "assistant", "model"])
def test_it_asks_little(root: Client, dragons: Project, django_assert_max_num_queries: Any, by: str) -> None:
    for index in range(30):
        key, _ = ApiKey.issue(dragons, f"key {index}")
        used(Project.objects.create(name=f"p{index}"), made_by=key.pk, model=f"m{index}", assistant_id=f"asst_{index}")
    with django_assert_max_num_queries(13):
        text(root, f"?by={by}&over=day")


@pytest.mark.parametrize("unit", ["minute", "hour", "day", "month"])
def test_a_database_cuts_times_as_python_does(dragons: Project, unit: str) -> None:
    moments = [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 59, 999999, tzinfo=UTC),
        datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC),
    ]
    for at in moments:
        used(dragons, at=at)
    zero: dict[str, dict[str, Any]] = {"minute": {}, "hour": {"minute": 0}, "day": {"minute": 0, "hour": 0}}
    zero["month"] = {**zero["day"], "day": 1}
    expected = {at.replace(second=0, microsecond=0, **zero[unit]) for at in moments}
    assert set(usage.in_time(usage.ended(moments[0]), unit)) == expected


# Own prices -----------------------------------------------------------------------------------------------------------

PRICES = "/admin/runs/modelprice/"


def test_an_operator_enters_a_price_and_prices_what_had_none(root: Client, dragons: Project) -> None:
    used(dragons, None, model="mine")
    used(dragons, None, model="mine", at=NOW - timedelta(days=60))
    used(dragons, None, model="other")
    form = {"model": " Mine ", "prompt": "1.5", "completion": "3"}
    assert root.post(f"{PRICES}add/", form).status_code == 302
    price = ModelPrice.objects.get()
    assert price.model == "Mine"
    assert "$1.50" in root.get(PRICES).content.decode()
    root.post(PRICES, {"action": "price_earlier_runs", "_selected_action": [price.pk]})
    costs = UsageRecord.objects.order_by("run_id").values_list("cost", flat=True)
    assert list(costs) == [10 * 1.5 + 5 * 3, None, None]


def price_earlier(client: Client, *chosen: ModelPrice) -> str:
    """What the action says."""
    post = {"action": "price_earlier_runs", "_selected_action": [price.pk for price in chosen]}
    answer = client.post(PRICES, post, follow=True)
    return " ".join(str(message) for message in answer.context["messages"])


def costs() -> dict[str, int | None]:
    return dict(UsageRecord.objects.values_list("model", "cost"))


def test_a_price_holds_behind_a_providers_name_as_it_does_for_new_runs(root: Client, dragons: Project) -> None:
    price = ModelPrice.objects.create(model="Llama-X", prompt=1, completion=1)
    ModelPrice.objects.create(model="dear/llama-x", prompt=9, completion=9)
    for model in ("llama-x", "gw/llama-x", "GW/LLAMA-X", "dear/llama-x", "gw/org/llama-x", "gw/my-llama-x", "other"):
        used(dragons, None, model=model)
    assert "3 runs have a cost now." in price_earlier(root, price)
    assert {model for model, cost in costs().items() if cost == 15} == {"llama-x", "gw/llama-x", "GW/LLAMA-X"}
    assert set(costs().values()) == {15, None}


def test_what_was_asked_for_as_the_default_has_the_price_of_what_that_means(
    root: Client, dragons: Project, elves: Project, settings: Settings
) -> None:
    settings.KUMOS_DEFAULT_MODEL = "gw/llama-x"
    Project.objects.filter(pk=elves.pk).update(default_model="other")
    price = ModelPrice.objects.create(model="llama-x", prompt=1, completion=1)
    used(dragons, None, model="default")
    used(dragons, None, model="")
    used(elves, None, model="default")
    assert "2 runs have a cost now." in price_earlier(root, price)
    assert list(UsageRecord.objects.order_by("run_id").values_list("cost", flat=True)) == [15, 15, None]


def test_what_is_too_much_at_once_is_said_and_goes_on(
    root: Client, dragons: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_price, "PRICED_AT_ONCE", 2)
    price = ModelPrice.objects.create(model="mine", prompt=1, completion=1)
    for day in (3, 1, 2):
        used(dragons, None, model="mine", at=NOW.replace(day=day))
    told = price_earlier(root, price)
    assert "2 runs have a cost now." in told
    assert "More are left of: mine. Do it again to go on." in told
    assert UsageRecord.objects.get(cost=None).ended_at == NOW.replace(day=1)
    told = price_earlier(root, price)
    assert "1 run has a cost now." in told
    assert "left" not in told


@pytest.mark.parametrize(
    "form",
    [
        {"model": "m", "prompt": "-1", "completion": "3"},
        {"model": "m", "prompt": "1", "completion": "nonsense"},
        {"model": "TAKEN", "prompt": "1", "completion": "1"},
        {"model": "", "prompt": "1", "completion": "1"},
    ],
)
def test_bad_prices_are_refused(root: Client, form: dict[str, str]) -> None:
    ModelPrice.objects.create(model="taken", prompt=1, completion=1)
    answer = root.post(f"{PRICES}add/", form)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert ModelPrice.objects.count() == 1


def test_who_may_only_view_prices_changes_none(staff: Callable[..., Client], dragons: Project) -> None:
    price = ModelPrice.objects.create(model="mine", prompt=1, completion=1)
    used(dragons, None, model="mine")
    client = staff("view_modelprice")
    assert client.get(PRICES).status_code == 200
    client.post(PRICES, {"action": "price_earlier_runs", "_selected_action": [price.pk]})
    assert UsageRecord.objects.get().cost is None
    assert client.post(f"{PRICES}add/", {"model": "x", "prompt": "1", "completion": "1"}).status_code == 403
