"""Every page of the admin that links lead to, one of each view, and the views that the addresses name."""

from __future__ import annotations

import html
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from urllib.parse import urljoin, urlsplit

import httpx
from django.contrib import admin
from django.urls import Resolver404, URLPattern, URLResolver, resolve

from tests.process import KumosProcess

ADDRESS = re.compile(r"""=["']((?:/admin/|\?)[^"'#]*)""")
TRIES = 3
"""How many addresses of one view are asked for: the first may have nothing on it."""
SAME_EVERYWHERE = ("history", "delete")
"""Pages that look alike for every model: one of them will do."""
NO_PAGES = {"logout", "login", "jsi18n", "autocomplete", "view_on_site", "password_change_done"}
"""Django's own that answer no page to somebody who is logged in, or one that only a form leads to."""


def names_of(patterns: Iterable[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns)
        elif pattern.name:
            yield pattern.name


def all_views() -> set[str]:
    return set(names_of(admin.site.get_urls())) - NO_PAGES


def kind_of(name: str) -> str:
    """The view's name; for pages that look alike, the last part of it."""
    last = name.rpartition("_")[2]
    return last if last in SAME_EVERYWHERE else name


class Crawl:
    """`pages`: kind of view → its first address that answered a page. `others`: views that answer, but no page."""

    def __init__(self, server: KumosProcess, cookies: dict[str, str], seeds: Iterable[str]) -> None:
        self.pages: dict[str, str] = {}
        self.others: set[str] = set()
        self.faults: list[str] = []
        with httpx.Client(base_url=server.url, cookies=cookies, timeout=60, trust_env=False) as http:
            self._follow(http, deque(seeds))

    def _follow(self, http: httpx.Client, waiting: deque[str]) -> None:
        seen = set(waiting)
        tries: Counter[str] = Counter()
        while waiting:
            address = waiting.popleft()
            try:
                name = resolve(urlsplit(address).path).url_name or ""
            except Resolver404:
                self.faults.append(f"{address} leads nowhere")
                continue
            tries[name] += 1
            if not name or name in NO_PAGES or tries[name] > TRIES:
                continue
            for found in self._ask(http, name, address):
                if found not in seen:
                    seen.add(found)
                    waiting.append(found)

    def _ask(self, http: httpx.Client, name: str, address: str) -> Iterator[str]:
        with http.stream("GET", address) as answer:  # some have no end
            status, kind = answer.status_code, answer.headers.get("Content-Type", "")
            text = answer.read().decode() if kind.startswith("text/html") else ""
        if status in (301, 302):
            yield urljoin(address, answer.headers["Location"]).removeprefix(str(http.base_url).rstrip("/"))
        elif status not in (200, 405):
            self.faults.append(f"{address} answers {status}")
        elif "<html" not in text:
            self.others.add(name)
        else:
            self.pages.setdefault(kind_of(name), address)
            self.others.add(name)
        for found in ADDRESS.findall(text):
            yield urljoin(address, html.unescape(found))
