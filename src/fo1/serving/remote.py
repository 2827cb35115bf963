"""Pictures from the web, fetched so that no client reaches what only this machine may reach.

A name is resolved once, every address it has must be public, and the connection goes to the address that was
checked: a name that means something else a moment later changes nothing. Each redirect begins anew.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fo1.errors import ImageError, short_name

Resolve: TypeAlias = Callable[..., list[tuple[Any, ...]]]

REDIRECTS: Final = 3
PORTS: Final = (80, 443)
_CHUNK: Final = 2**16
_MOVED = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
# Protocol assignments and relays; which of them count as global depends on Python's version.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24")))


def is_public(address: str) -> bool:
    """Return whether an address is one that anybody can reach; addresses wrapped in another are unwrapped.

    Example:
        >>> is_public("8.8.8.8"), is_public("::ffff:127.0.0.1"), is_public("fe80::1%eth0")
        (True, False, False)
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _UNICAST:
            return False
    elif any(ip in network for network in _SPECIAL):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@dataclass(frozen=True, slots=True)
class Remote:
    """Fetches pictures.

    Args:
        most_bytes: of one picture.
        seconds: for all of it, redirects included.
        resolve: as `socket.getaddrinfo`.
        allowed: whether an address may be connected to.
        ports: that may be connected to.
        tls: how certificates are checked.
    """

    most_bytes: int
    seconds: float
    resolve: Resolve = socket.getaddrinfo
    allowed: Callable[[str], bool] = is_public
    ports: tuple[int, ...] = PORTS
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind an http(s) URL.

        Raises:
            ImageError: it leads to an address or port that is not allowed, or to nothing in time and size.
        """
        end = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            try:
                found, moved = self._get(url, end)
            except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
                if isinstance(error, ImageError):
                    raise
                late = time.monotonic() >= end
                why = f"nothing came in {self.seconds:g} s" if late else type(error).__name__
                raise ImageError(
                    f"{short_name(url)} cannot be fetched ({why}); check it, or send the picture itself"
                ) from error
            if moved is None:
                return found
            url = urllib.parse.urljoin(url, moved)
        raise ImageError(
            f"the picture's URL redirects more than {REDIRECTS} times; send the last one"
        )

    def _get(self, url: str, end: float) -> tuple[bytes, str | None]:
        """Return the bytes of one URL, or where it moved."""
        parts = urllib.parse.urlsplit(url)
        host, secure = parts.hostname, parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise ImageError(f"{short_name(url)} is no plain http(s) URL; send the picture itself")
        if port not in self.ports:
            raise ImageError(
                f"port {port} is not fetched from; use {' or '.join(map(str, self.ports))}"
            )
        with self._connect(host, port, end) as plain, _cut_at(plain, end):
            sock = self.tls.wrap_socket(plain, server_hostname=host) if secure else plain
            with sock:
                link = http.client.HTTPConnection(host, port)
                link.sock = sock
                path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
                query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
                headers = {"User-Agent": "fo1", "Accept": "image/*", "Accept-Encoding": "identity"}
                link.request("GET", f"{path}?{query}" if query else path, headers=headers)
                return self._read(link.getresponse(), url, end)

    def _connect(self, host: str, port: int, end: float) -> socket.socket:
        """Return a connection to an address that was checked."""
        found = self.resolve(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses or not all(map(self.allowed, addresses)):
            raise ImageError(
                f"'{short_name(host)}' is not on the public internet; send the picture itself"
            )
        failed: OSError = OSError("no address")
        for address in addresses:
            try:
                return socket.create_connection((address, port), max(0.1, end - time.monotonic()))
            except OSError as error:
                failed = error
        raise failed

    def _read(
        self, response: http.client.HTTPResponse, url: str, end: float
    ) -> tuple[bytes, str | None]:
        moved = response.getheader("Location")
        if response.status in _MOVED and moved:
            return b"", moved
        if response.status != 200:
            raise ImageError(f"{short_name(url)} answers {response.status}; check it")
        data = bytearray()
        while piece := response.read1(_CHUNK):
            data += piece
            if len(data) > self.most_bytes:
                raise ImageError(
                    f"the picture behind {short_name(url)} has more than {self.most_bytes} bytes; "
                    "send a smaller one"
                )
        if response.length or time.monotonic() >= end:
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(data), None


@contextmanager
def _cut_at(sock: socket.socket, end: float) -> Iterator[None]:
    """End a connection at a moment, so that one that trickles ends as well."""
    same = sock.dup()  # TLS takes the socket itself over

    def cut() -> None:
        with suppress(OSError):
            same.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, end - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        same.close()
