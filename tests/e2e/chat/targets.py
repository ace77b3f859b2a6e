"""What of Chromium Playwright does not reach, by the DevTools protocol: tabs that are hidden and frozen, workers.

Playwright's own pages are emulated as focused: they are visible for ever, and nothing freezes them.
"""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

from playwright.sync_api import Browser, CDPSession, StorageState

from tests.e2e.chat.browsing import PATIENCE


class Target:
    """One target of a browser, attached to. `evaluate` is that of Playwright's pages, for functions."""

    def __init__(self, browser: CDPSession, target: str) -> None:
        self.browser = browser
        self.target = target
        self._numbers = count(1)
        self._answers: dict[int, Any] = {}
        browser.on("Target.receivedMessageFromTarget", self._received)
        self._session = browser.send("Target.attachToTarget", {"targetId": target, "flatten": False})["sessionId"]

    def _received(self, told: Any) -> None:
        message = json.loads(told["message"])
        if told["sessionId"] == self._session and "id" in message:
            self._answers[message["id"]] = message

    def send(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = json.dumps({"id": number, "method": method, "params": parameters})
        self.browser.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})
        give_up_at = time.monotonic() + PATIENCE / 1000
        while number not in self._answers:
            assert time.monotonic() < give_up_at, method
            self.browser.send("Browser.getVersion")  # messages are heard while something is asked
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        call = f"({expression.strip()})({json.dumps(arg)})"
        result = self.send("Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True)["result"]
        return result.get("value")

    def wait_for(self, expression: str, arg: Any = None) -> None:
        give_up_at = time.monotonic() + PATIENCE / 1000
        while not self.evaluate(expression, arg):
            assert time.monotonic() < give_up_at, expression

    def instances(self, module: str, name: str) -> str:
        """The objects of a class that live in the target, as the id of one array."""
        given = f"import('{module}').then((module) => module.{name}.prototype)"
        prototype = self.send("Runtime.evaluate", expression=given, awaitPromise=True)["result"]["objectId"]
        return str(self.send("Runtime.queryObjects", prototypeObjectId=prototype)["objects"]["objectId"])

    def call(self, objects: str, function: str) -> Any:
        """`function` with the first of `objects`."""
        told = self.send(
            "Runtime.callFunctionOn",
            objectId=objects,
            functionDeclaration=f"function () {{ return ({function})(this[0]) }}",
            returnByValue=True,
        )
        return told["result"].get("value")


class Tab(Target):
    """A tab as people have them, in none of Playwright's contexts: `with Tab(…) as tab:`."""

    def __init__(self, browser: Browser, person: StorageState, url: str, *, script: str = "") -> None:
        session = browser.new_browser_cdp_session()
        super().__init__(session, session.send("Target.createTarget", {"url": "about:blank"})["targetId"])
        known = ("name", "value", "domain", "path", "httpOnly", "secure", "sameSite")
        cookies = [{name: cookie[name] for name in known if name in cookie} for cookie in person.get("cookies", [])]  # type: ignore[literal-required]
        session.send("Storage.setCookies", {"cookies": cookies})
        self.send("Page.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        self.send("Page.navigate", url=url)

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.browser.send("Target.closeTarget", {"targetId": self.target})
        self.browser.send("Storage.clearCookies")
        self.browser.detach()

    def freeze(self) -> None:
        """Another tab is looked at, and the browser stops everything in this one."""
        self.other = self.browser.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.browser.send("Target.activateTarget", {"targetId": self.other})
        self.wait_for("() => document.hidden")
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        """It is looked at again."""
        self.send("Page.setWebLifecycleState", state="active")
        self.browser.send("Target.activateTarget", {"targetId": self.target})
        self.browser.send("Target.closeTarget", {"targetId": self.other})
        self.wait_for("() => !document.hidden")

    def worker(self) -> Target:
        """The worker that it shares with the other tabs of its browser."""
        targets = self.browser.send("Target.getTargets")["targetInfos"]
        [own] = [one for one in targets if one["targetId"] == self.target]
        [shared] = [
            one
            for one in targets
            if one["type"] == "shared_worker" and one["browserContextId"] == own["browserContextId"]
        ]
        return Target(self.browser, shared["targetId"])
