"""uvicorn's HTTP/1.1 protocol with a bound on what a client may send before it has said what it wants."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lookup_api import answers, problems
from lookup_api.problems import Refused

LARGEST_HEAD = 64 * 1024
"""Bytes of request line and headers. httptools itself sets no limit."""


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request head that does not end, and answers what is not HTTP with a problem document."""

    _head = 0
    _refused = False

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the head has grown too large."""
        if self._refused:
            return
        super().data_received(data)
        # Between requests the last scope is complete; while a head is arriving, its scope has no method yet.
        scope: dict[str, object] | None = self.scope  # type: ignore[assignment] # uvicorn starts it as None
        if scope is None or "method" in scope:
            self._head = 0
            return
        self._head += len(data)
        if self._head > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(
                Refused(
                    problems.HEADERS_TOO_LARGE,
                    "request head",
                    expected=f"at most {LARGEST_HEAD} bytes",
                    found="more",
                    fix="Send fewer or shorter headers.",
                )
            )

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed: the same problem document as every other refusal."""
        self._refuse(Refused(problems.BAD_REQUEST, "request", expected="valid HTTP/1.1", found=msg, fix="Correct the client."))

    def _refuse(self, refused: Refused) -> None:
        self._refused = True
        body = answers.encode(problems.describe(refused))
        status = refused.problem.status
        head = (
            f"HTTP/1.1 {status} {refused.problem.title}\r\ncontent-type: application/problem+json\r\n"
            f"x-content-type-options: nosniff\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()
