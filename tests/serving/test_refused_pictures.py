"""What clients may try with a picture: paths, bombs, animations, addresses that are not theirs."""

import base64
import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from fo1.errors import ImageError
from fo1.serving.limits import Limits
from fo1.serving.pictures import examine
from fo1.serving.remote import Remote, is_public
from tests import tiny
from tests.serving.conftest import data_url, file_of
from tests.serving.test_api import refused


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that is opened while pictures are read."""
    paths: list[str] = []
    plain = io.open

    def spy(file: Any, *rest: Any, **more: Any) -> Any:
        paths.append(str(file))
        return plain(file, *rest, **more)

    monkeypatch.setattr("builtins.open", spy)
    monkeypatch.setattr(Path, "open", lambda self, *rest, **more: spy(self, *rest, **more))
    return paths


def test_paths_are_never_read(client: TestClient, tmp_path: Path, picture, opened) -> None:
    real = tmp_path / "real.png"
    picture.save(real)
    opened.clear()
    for path in (
        str(real),
        real.as_uri(),
        f"file:{real}",
        "/etc/passwd",
        "etc/passwd",
        "../../../../etc/passwd",
        "~/.ssh/id_rsa",
        "/dev/zero",
        "\\\\server\\share\\a.png",
        "C:\\a.png",
        "data:image/png,/etc/passwd",
        "data:text/plain;base64,AAAA",
        "ftp://example.org/a.png",
        "s3://bucket/a.png",
        "gopher://127.0.0.1/",
        "examples/photos/coffee.jpg",
    ):
        refused(client.post("/v1/ground", json={"image": path}), 400, "invalid_image")
        part = {"type": "image_url", "image_url": {"url": path}}
        name = client.get("/health").json()["model"]
        messages = [{"role": "user", "content": [part, {"type": "text", "text": "what?"}]}]
        sent = client.post("/v1/chat/completions", json={"model": name, "messages": messages})
        refused(sent, 400, "invalid_image")
    assert not [path for path in opened if path.endswith((".png", ".jpg", "passwd", "id_rsa"))]


def png_of(width: int, height: int, body: bytes = b"") -> bytes:
    """Return the head of a PNG that says it is that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    frames = [tiny.picture(32, 32, seed=seed) for seed in range(3)]
    return file_of(frames[0], kind, save_all=True, append_images=frames[1:])


def bombs() -> dict[str, bytes]:
    photo = tiny.picture(200, 200)
    return {
        "30000 x 30000 PNG": png_of(30_000, 30_000, zlib.compress(bytes(10_000))),
        "2 ** 31 - 1 wide": png_of(2**31 - 1, 1),
        "no pixels": png_of(0, 0),
        "zeros that deflate well": file_of(Image.new("L", (7_000, 7_000))),
        "a text chunk that inflates": file_of(photo).replace(b"IDAT", b"zTXt", 1),
        "cut PNG": file_of(photo)[:-2_000],
        "cut JPEG": file_of(photo, "JPEG")[:1_000],
        "GIF of three frames": animated("GIF"),
        "APNG": animated("PNG"),
        "WebP of three frames": animated("WEBP"),
        "TIFF of three pages": animated("TIFF"),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "PDF": b"%PDF-1.7",
        "ZIP": b"PK\x03\x04" + bytes(60),
        "PPM": file_of(photo, "PPM"),
        "ICO": file_of(photo, "ICO"),
        "empty": b"",
        "noise": bytes(range(256)) * 9,
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused(client: TestClient, name: str) -> None:
    sent = {"image": data_url(bombs()[name]), "boxes": []}
    refused(client.post("/v1/ground", json=sent), 400, "invalid_image")


def test_pictures_of_all_kinds_are_taken(client: TestClient, picture: Image.Image) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        sent = {"image": data_url(file_of(picture, kind)), "boxes": []}
        assert client.post("/v1/ground", json=sent).status_code == 200, kind
    both = file_of(picture, "MPO", save_all=True, append_images=[tiny.picture(140, 112, seed=1)])
    assert client.post("/v1/ground", json={"image": data_url(both), "boxes": []}).status_code == 200


def test_a_bomb_is_told_by_its_head() -> None:
    limits = Limits()
    with pytest.raises(ImageError, match="far too large"):
        examine(png_of(30_000, 30_000), limits)


# From the web.


def test_urls_are_refused_unless_they_are_wanted(client: TestClient) -> None:
    told = refused(
        client.post("/v1/ground", json={"image": "http://example.org/a.png"}), 400, "invalid_image"
    )
    assert "not fetched" in told


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "fec0::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe"),
        *("2002:7f00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "x", ""),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost/a.png",
        "https://localhost/a.png",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "http://8.8.8.8:22/",
        "http://8.8.8.8:6379/",
        "http://127.0.0.1:99999/",
        "http:///a.png",
        "http://[::1",
        "http://a b/",
        "http://127.0.0.1\r\nX: y/",
        "http://\u2488\u2475/",
        "http://" + "a" * 300 + "/",
    ],
)
def test_nothing_of_this_machine_is_reached(served: Callable[..., TestClient], url: str) -> None:
    refused(served(remote=True).post("/v1/ground", json={"image": url}), 400, "invalid_image")


class Web:
    """A web server here, and names that lead to it."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[tuple[str, str | None]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.seen.append((self.path, self.headers["Host"]))
                web.pages[self.path](self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path: str, data: bytes, status: int = 200, **headers: str) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data)

        self.pages[path] = answer


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.server.shutdown()
    web.server.server_close()


def remote(web: Web, names: dict[str, list[str]], seconds: float = 5, most: int = 10**6) -> Remote:
    """Return what fetches by those names; the test's address counts as public by the name of `good`."""
    asked: dict[str, int] = {}

    def resolve(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        turn = asked[host] = asked.get(host, 0) + 1
        found = names[host]
        return [(2, 1, 6, "", (found[min(turn, len(found)) - 1], port))]

    def allowed(address: str) -> bool:
        return address == "127.0.0.1" or is_public(address)

    return Remote(most, seconds, resolve=resolve, allowed=allowed, ports=(80, 443, web.port))


def test_a_picture_is_fetched(web: Web, picture: Image.Image) -> None:
    data = file_of(picture)
    web.page("/a%20b.png?x=1", data)
    web.page("/moved", b"", 302, Location="a b.png?x=1")
    got = remote(web, {"good.test": ["127.0.0.1"]}).fetch(f"http://good.test:{web.port}/moved")
    assert got == data
    assert [path for path, _ in web.seen] == ["/moved", "/a%20b.png?x=1"]
    assert web.seen[0][1] == f"good.test:{web.port}"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/",
        "http://inside.test/",
        "http://[::1]/",
        "file:///etc/passwd",
        "//inside.test/a.png",
        "ftp://good.test/",
    ],
)
def test_no_redirect_leads_inside(web: Web, target: str) -> None:
    web.page("/", b"", 307, Location=target)
    names = {
        "good.test": ["127.0.0.1"],
        "inside.test": ["10.0.0.7"],
        "169.254.169.254": ["169.254.169.254"],
        "::1": ["::1"],
    }
    with pytest.raises(ImageError, match=r"public internet|plain http"):
        remote(web, names).fetch(f"http://good.test:{web.port}/")


def test_a_name_that_changes_its_meaning(web: Web) -> None:
    """It is resolved once a connection, and that address is connected to: the second answer is never used."""
    web.page("/", b"x" * 10)
    changing = remote(web, {"good.test": ["127.0.0.1", "10.0.0.7"]})
    assert changing.fetch(f"http://good.test:{web.port}/") == b"x" * 10
    with pytest.raises(ImageError, match="public internet"):
        changing.fetch(f"http://good.test:{web.port}/")


def test_one_private_address_of_several_is_enough(web: Web) -> None:
    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(2, 1, 6, "", (ip, 80)) for ip in ("8.8.8.8", "192.168.0.1")]

    with pytest.raises(ImageError, match="public internet"):
        Remote(10, 5, resolve=resolve).fetch("http://good.test/")


def test_what_is_endless_ends(web: Web) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        stop = threading.Event()
        for _ in range(100):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return
            stop.wait(0.05)

    web.pages["/slow"] = trickle
    web.page("/loop", b"", 302, Location="/loop")
    web.page("/big", bytes(2_000))
    web.page("/missing", b"", 404)
    web.page("/short", b"x", **{"Content-Length": "9"})
    base = f"http://good.test:{web.port}"
    names = {"good.test": ["127.0.0.1"]}
    for path, told, seconds in (
        ("/slow", "nothing came in 0.3 s", 0.3),
        ("/loop", "more than 3 times", 5),
        ("/big", "more than 1000 bytes", 5),
        ("/missing", "answers 404", 5),
        ("/short", "IncompleteRead", 5),
    ):
        with pytest.raises(ImageError, match=told):
            remote(web, names, seconds, most=1_000).fetch(base + path)


def test_base64_of_several_alphabets(client: TestClient, picture: Image.Image) -> None:
    data = file_of(picture)
    for text in (
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        base64.b64encode(data).decode().rstrip("="),
        base64.b64encode(data).decode() + "\n",
        base64.encodebytes(data).decode(),
    ):
        assert client.post("/v1/ground", json={"image": text, "boxes": []}).status_code == 200
    refused(client.post("/v1/ground", json={"image": "A" * 41}), 400, "invalid_image")
