"""Images on their way to a model: as data URLs, from where the guard lets them come, or the run says why not (2.7)."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import File
from runs import images, prompt, transitions, web
from runs.executor import Stop
from runs.images import TOKENS, NoImage, unpacked
from runs.models import Run
from runs.writer import Writer
from tests import pictures
from tests.conftest import ApiClient
from tests.loops import run_async
from tests.pictures import GIF, JPEG, PNG, WEBP, Pictures
from tests.runs.conftest import GET_WEATHER, Execute
from tests.runs.model import Model, call
from tests.runs.observed import Live, live
from tests.upstream import Upstream

LIMIT = 1_000_000


@pytest.fixture
def site(settings: Settings) -> Iterator[Pictures]:
    """A web server on loopback, which is allowed under the name 127.0.0.1 and no other."""
    settings.KUMOS_IMAGE_HOSTS = ["127.0.0.1"]
    settings.KUMOS_IMAGE_BYTES_MAX = LIMIT
    with Pictures() as site:
        yield site


def as_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def show(client: ApiClient, *parts: dict[str, Any], model: str = "vision", **fields: Any) -> str:
    """The id of a run on a thread with these parts in its message."""
    text = {"type": "text", "text": "What is this?"}
    thread = client.make("/threads", {"messages": [{"role": "user", "content": [text, *parts]}]})
    assistant = client.make("/assistants", {"model": model, **fields})
    return str(client.make(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})["id"])


# What the model server gets -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_upstream_gets_data_urls_and_no_address(
    alice: ApiClient, settings: Settings, site: Pictures, execute: Execute
) -> None:
    file_id = alice.make_file("cat.webp", WEBP, purpose="vision")
    stored = {"type": "image_file", "image_file": {"file_id": file_id, "detail": "high"}}
    parts = [image(site.url("/cat.png")), image(as_url(GIF, "image/gif"), detail="low"), stored]
    with Upstream() as upstream:
        settings.OPENAI_BASE_URL = upstream.base_url
        run = execute(show(alice, *parts))
        (asked,) = upstream.calls
    assert run.status == "completed", run.last_error
    assert asked.body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": as_url(PNG), "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": as_url(GIF, "image/gif"), "detail": "low"}},
                {"type": "image_url", "image_url": {"url": as_url(WEBP, "image/webp"), "detail": "high"}},
            ],
        }
    ]
    assert str(site.port) not in str(asked.body)
    assert file_id not in str(asked.body)


@pytest.mark.django_db(transaction=True)
def test_an_image_is_fetched_once_in_a_run(alice: ApiClient, site: Pictures, model: Model, execute: Execute) -> None:
    model.will(call("file_search", '{"query": "cat"}'), finish="tool_calls")
    url = site.url("/cat.png")
    run = execute(show(alice, image(url), image(url), tools=[{"type": "file_search"}]))
    assert run.status == "completed", run.last_error
    assert len(model.requests) == 2
    for request in model.requests:
        assert [part["type"] for part in request["messages"][0]["content"]] == ["text", "image_url", "image_url"]
    assert site.asked == ["/cat.png"]


@pytest.mark.django_db(transaction=True)
def test_the_model_in_the_box_needs_no_image(alice: ApiClient, site: Pictures, execute: Execute) -> None:
    run = execute(show(alice, image(site.url("/silent")), model="scripted", tools=[GET_WEATHER]))
    assert run.status == "completed", run.last_error
    assert site.asked == []


@pytest.mark.django_db(transaction=True)
def test_an_image_whose_file_is_gone_stops_no_thread(alice: ApiClient, model: Model, execute: Execute) -> None:
    file_id = alice.make_file("cat.png", PNG, purpose="vision")
    run_id = show(alice, {"type": "image_file", "image_file": {"file_id": file_id}})
    assert alice.delete(f"/files/{file_id}").status_code == 200
    assert execute(run_id).status == "completed"
    (request,) = model.requests
    assert [part["type"] for part in request["messages"][0]["content"]] == ["text", "text"]
    assert "deleted" in request["messages"][0]["content"][1]["text"]


@pytest.mark.django_db(transaction=True)
def test_another_projects_file_is_never_shown(
    alice: ApiClient, charlie: ApiClient, model: Model, execute: Execute
) -> None:
    mine, theirs = alice.make_file("a.png", PNG, purpose="vision"), charlie.make_file("b.png", PNG, purpose="vision")
    run_id = show(alice, {"type": "image_file", "image_file": {"file_id": mine}})
    message = Run.objects.get(pk=run_id).thread.messages.get()
    message.content[1]["image_file"]["file_id"] = theirs  # as if it had got there
    message.save()
    assert execute(run_id).status == "completed"
    assert as_url(PNG) not in str(model.requests)


@pytest.mark.django_db
@pytest.mark.parametrize(("detail", "price"), TOKENS.items())
def test_images_count(alice: ApiClient, detail: str, price: int) -> None:
    run = Run.objects.get(pk=show(alice, image("https://example.com/a.png", detail=detail), model="scripted"))
    assert price < prompt.estimate(prompt.build(run).request) < price + 20


@pytest.mark.django_db
def test_a_small_budget_drops_old_images(alice: ApiClient) -> None:
    messages = [{"role": "user", "content": [image("https://example.com/a.png")]}, {"role": "user", "content": "Hi"}]
    thread = alice.make("/threads", {"messages": messages})
    assistant = alice.make("/assistants", {"model": "scripted"})
    body = {"assistant_id": assistant["id"], "max_prompt_tokens": 256}
    run = alice.make(f"/threads/{thread['id']}/runs", body)
    assert [one["content"] for one in prompt.build(Run.objects.get(pk=run["id"])).request.messages] == ["Hi"]


# What becomes of the run otherwise ------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/page", "invalid_prompt", "it is sent as 'text/html'"),
        ("/liar", "invalid_prompt", "it is not a PNG, JPEG, GIF or WebP image"),
        ("/status/404", "invalid_prompt", "its server answered 404"),
        ("/status/503", "server_error", "its server answered 503"),
        ("/endless", "invalid_prompt", "it is larger than 1000000 bytes (KUMOS_IMAGE_BYTES_MAX)"),
    ],
)
def test_a_run_whose_image_cannot_be_used_fails_and_says_so(
    path: str, code: str, reason: str, alice: ApiClient, site: Pictures, model: Model, execute: Execute
) -> None:
    run = execute(show(alice, image(site.url("/cat.png")), image(site.url(path))))
    assert run.status == "failed"
    message = f"Image 2 of those that the model was to see cannot be used: {reason}."
    assert run.last_error == {"code": code, "message": message}
    assert model.requests == []


@pytest.mark.django_db(transaction=True)
def test_a_run_cannot_reach_this_machine(alice: ApiClient, site: Pictures, model: Model, execute: Execute) -> None:
    run = execute(show(alice, image(site.url("/cat.png", host="localhost"))))
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.last_error["code"] == "invalid_prompt"
    assert "not on the public internet" in run.last_error["message"]
    assert site.asked == []


@pytest.mark.django_db(transaction=True)
def test_a_file_that_is_no_image_fails_the_run(alice: ApiClient, model: Model, execute: Execute) -> None:
    file_id = alice.make_file("notes.txt", b"Notes.")
    run = execute(show(alice, {"type": "image_file", "image_file": {"file_id": file_id}}))
    assert run.last_error == {
        "code": "invalid_prompt",
        "message": f"The image '{file_id}' cannot be used: it is not a PNG, JPEG, GIF or WebP image.",
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("head", ["data:image/png", "data:image/hunter2", "https://hunter2.example:99999/"])
def test_the_error_repeats_nothing_of_an_address(head: str, alice: ApiClient, model: Model, execute: Execute) -> None:
    run = execute(show(alice, image(f"{head};base64,aHVudGVyMg==")))
    assert run.last_error is not None
    assert run.last_error["message"].startswith("Image 1 of those that the model was to see cannot be used: ")
    assert "hunter2" not in run.last_error["message"]
    assert "aHVudGVyMg" not in run.last_error["message"]


@pytest.mark.django_db(transaction=True)
def test_a_large_file_is_not_even_read(
    alice: ApiClient, settings: Settings, model: Model, execute: Execute, media: Any
) -> None:
    settings.KUMOS_IMAGE_BYTES_MAX = 1000
    file_id = alice.make_file("cat.png", PNG, purpose="vision")
    File.objects.filter(pk=file_id).update(bytes=1001)
    run = execute(show(alice, {"type": "image_file", "image_file": {"file_id": file_id}}))
    assert run.last_error is not None
    assert "larger than 1000 bytes" in run.last_error["message"]


@pytest.mark.django_db(transaction=True)
def test_a_cancel_does_not_wait_for_an_image(
    alice: ApiClient, site: Pictures, model: Model, writer: Writer, settings: Settings
) -> None:
    settings.KUMOS_IMAGE_SECONDS = 3600
    run = Run.objects.get(pk=show(alice, image(site.url("/silent"))))

    async def work(live: Live) -> None:
        task = await live.start()
        await asyncio.to_thread(site.wait_for_asked)
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        live.executor.stop(Stop.CANCELLED)
        await task

    assert live(run, writer, work).status == "cancelled"


@pytest.mark.django_db(transaction=True)
def test_all_images_together_have_a_limit(
    alice: ApiClient, model: Model, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "TOTAL_BYTES_MAX", len(PNG) + len(GIF))
    both = image(as_url(PNG)), image(as_url(GIF, "image/gif"))
    assert execute(show(alice, *both, *both)).status == "completed"
    run = execute(show(alice, *both, image(as_url(JPEG, "image/jpeg"))))
    assert run.last_error is not None
    assert run.last_error["code"] == "invalid_prompt"
    assert f"more than {len(PNG) + len(GIF)} bytes" in run.last_error["message"]
    assert len(model.requests) == 1


# The guard ------------------------------------------------------------------------------------------------------------


def fetched(url: str) -> web.Fetched:
    return run_async(lambda: web.fetch(url, LIMIT))


def refused(url: str) -> str:
    with pytest.raises(web.Unfetchable) as caught:
        fetched(url)
    return caught.value.reason


@pytest.mark.parametrize(
    ("path", "content"),
    [("/cat.png", PNG), ("/cat.jpg", JPEG), ("/cat.webp", WEBP), ("/hop/3", PNG), ("/untyped", PNG)],
)
def test_an_image_is_fetched(site: Pictures, path: str, content: bytes) -> None:
    assert fetched(site.url(path)).content == content
    assert set(site.hosts) == {f"127.0.0.1:{site.port}"}


def test_the_host_is_told_by_its_name_although_the_address_is_dialled(site: Pictures, settings: Settings) -> None:
    settings.KUMOS_IMAGE_HOSTS = ["LocalHost"]
    assert fetched(site.url("/cat.png", host="LOCALHOST")).content == PNG
    assert site.hosts == [f"localhost:{site.port}"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "0.0.0.0", "0", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.2", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1", "192.168.1.1",
        "172.16.0.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1", "255.255.255.255",
        "168.63.129.16", "192.0.0.192", "[ff02::1]",
    ],
)  # fmt: skip
def test_no_private_address_is_dialled(host: str, site: Pictures) -> None:
    assert refused(site.url("/cat.png", host=host)).startswith(
        ("its host is not on the public internet", "its host has no address", "its address is none")
    )
    assert site.asked == []


@pytest.mark.parametrize(("name", "fits"), [("localhost", True), ("elsewhere.test", False)])
def test_a_certificate_must_name_the_host_and_not_the_address(
    name: str, fits: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.KUMOS_IMAGE_HOSTS = ["localhost"]
    certificate = certificate_for(name, tmp_path)
    monkeypatch.setattr(web, "tls", lambda: ssl.create_default_context(cafile=certificate))
    with Pictures(certificate) as site:
        url = f"https://localhost:{site.port}/cat.png"
        if fits:
            assert fetched(url).content == PNG
        else:
            assert "cannot be reached" in refused(url)
        assert site.asked == ["/cat.png"] * fits


def certificate_for(name: str, folder: Path) -> Path:
    """A file with a key and a certificate for that host, signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    day = timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now() - day, now() + day
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(pem))
    return path


def resolved(url: str, *answers: list[str]) -> web.Fetched:
    """`fetch` where the name server gives these answers, one after the other, and then no more."""
    left = list(answers)

    def look_up(host: str, port: int) -> list[Any]:
        assert left, f"{host} was looked up once too often"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    async def work() -> web.Fetched:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(web, "look_up", look_up)
            return await web.fetch(url, LIMIT)

    return run_async(work)


def test_a_name_is_looked_up_once_and_that_answer_is_dialled(site: Pictures, settings: Settings) -> None:
    settings.KUMOS_IMAGE_HOSTS = ["cats.test"]
    assert resolved(site.url("/cat.png", host="cats.test"), ["127.0.0.1"]).content == PNG
    assert site.hosts == [f"cats.test:{site.port}"]


def test_the_next_address_of_a_host_is_tried(site: Pictures, settings: Settings) -> None:
    settings.KUMOS_IMAGE_HOSTS = ["cats.test"]
    assert resolved(site.url("/cat.png", host="cats.test"), ["127.0.0.3", "127.0.0.1"]).content == PNG


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["192.0.2.1", "127.0.0.1"], ["8.8.8.8", "127.0.0.1"]])
def test_one_private_address_makes_a_name_private(addresses: list[str], site: Pictures) -> None:
    with pytest.raises(web.Unfetchable, match="not on the public internet"):
        resolved(site.url("/cat.png", host="cats.test"), addresses)
    assert site.asked == []


def test_a_redirect_to_a_name_that_became_private(site: Pictures) -> None:
    """The named host redirects to one that resolves to this machine."""
    away = site.url(f"/to?{site.url('/cat.png', host='cats.test')}")
    with pytest.raises(web.Unfetchable, match="not on the public internet"):
        resolved(away, ["127.0.0.1"], ["127.0.0.1"])
    assert len(site.asked) == 1


@pytest.mark.parametrize("where", ["http://localhost:{port}/cat.png", "//localhost:{port}/cat.png", "http://[::1]/"])
def test_a_redirect_is_checked_like_the_first_address(where: str, site: Pictures) -> None:
    where = where.format(port=site.port)
    assert "not on the public internet" in refused(site.url(f"/to?{where}"))
    assert site.asked == [f"/to?{where}"]


@pytest.mark.parametrize("where", ["file:///etc/passwd", "gopher://127.0.0.1/x", "ftp://127.0.0.1/cat.png", "data:,x"])
def test_a_redirect_leads_to_http_only(where: str, site: Pictures) -> None:
    assert refused(site.url(f"/to?{where}")).startswith(("its address does not begin", "it redirects to an address"))


def test_redirects_are_few(site: Pictures) -> None:
    assert "redirects" in refused(site.url("/hop/4"))
    assert "redirects" in refused(site.url(f"/to?{site.url('/hop/9')}"))


@pytest.mark.parametrize("path", ["/endless", "/announced"])
def test_a_large_body_is_not_read_to_its_end(path: str, site: Pictures) -> None:
    assert "larger than 1000000 bytes" in refused(site.url(path))


def test_a_packed_body_is_not_unpacked(site: Pictures) -> None:
    assert "compressed" in refused(site.url("/packed"))


@pytest.mark.parametrize("path", ["/drips", "/silent"])
def test_a_slow_server_is_not_waited_for(path: str, site: Pictures, settings: Settings) -> None:
    settings.KUMOS_IMAGE_SECONDS = 0.3
    assert "did not arrive within 0.3 seconds" in refused(site.url(path))


@pytest.mark.parametrize(
    "url",
    [
        "http://", "http:///cat.png", "https://", "http://[", "http://[::1", "http://" + "a" * 300 + "/", "http://\0/",
        "http://a b/", "http://x.invalid/", "//127.0.0.1/", "cat.png", "http://127.0.0.1:99999/", "http://user@/",
        "http://127.0.0.1:0/",
    ],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_said_to(url: str, site: Pictures) -> None:
    assert refused(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("198.51.100.1", False),
        ("240.0.0.1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert web.is_public(ipaddress.ip_address(address)) is public


# Bytes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
def test_a_data_url_is_unpacked(kind: str) -> None:
    content = getattr(pictures, kind.upper())
    assert unpacked(as_url(content, f"image/{kind}")) == content
    assert unpacked(as_url(content, "image/png; charset=binary").replace("data:", "DATA:")) == content


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png,abc", "not in base64"),
        ("data:image/png;base64", "not in base64"),
        ("data:image/png;base64,%%%", "not in base64"),
        ("data:image/png;base64,é", "not in base64"),
        ("data:text/html;base64,iVBORw0KGgo=", "sent as 'text/html'"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "not a PNG"),
        ("data:image/png;base64,", "not a PNG"),
    ],
)
def test_a_data_url_must_hold_an_image(url: str, reason: str) -> None:
    with pytest.raises(NoImage, match=reason):
        unpacked(url)


def test_a_large_data_url_is_refused_before_it_is_unpacked(settings: Settings) -> None:
    settings.KUMOS_IMAGE_BYTES_MAX = len(PNG)
    assert unpacked(as_url(PNG)) == PNG
    with pytest.raises(NoImage, match="larger than"):
        unpacked(as_url(PNG + bytes(3)))
