"""Errors as HTTP sees them: RFC 9457 problem documents with types that never change.

The core's errors know no status codes. :data:`_TRANSLATION` is the one table that gives each of them its problem type;
what only HTTP can get wrong (a body too large, a method not allowed) is raised here as :class:`Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batch_scoring import errors
from batch_scoring.errors import ForetableError
from lookup_api.answers import Problem

_LONGEST_INSTANCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemType:
    """A kind of failure that a client may branch on. ``slug`` is the stable part of the type URI."""

    slug: str
    status: int
    title: str
    meaning: str

    @property
    def uri(self) -> str:
        """The ``type`` member: relative to this server, where it leads to the documentation."""
        return f"/problems/{self.slug}"


UNKNOWN_TABLE = ProblemType(
    slug="unknown-table",
    status=404,
    title="No such table",
    meaning="The release being served holds no prediction table of that name. The member `tables` lists the names it does hold.",
)
UNKNOWN_VERSION = ProblemType(
    slug="unknown-version",
    status=404,
    title="No such version",
    meaning="Nothing of that table is live yet, or the version asked for was never built or is no longer kept.",
)
UNKNOWN_KEY = ProblemType(
    slug="unknown-key",
    status=404,
    title="No such entity",
    meaning="The key is well formed, but the live version holds no such entity. It was not in the population that was scored.",
)
NO_SUCH_PAGE = ProblemType(
    slug="no-such-page",
    status=404,
    title="Nothing here",
    meaning="The path is not one of this API. Every path is listed in `/docs`.",
)
BAD_KEY = ProblemType(
    slug="bad-key",
    status=400,
    title="The key does not fit the table",
    meaning="Wrong number of key parts, an unknown part, a part of the wrong type, or a part that is not percent-encoded UTF-8.",
)
BAD_REQUEST = ProblemType(
    slug="bad-request",
    status=400,
    title="The request cannot be read",
    meaning="The body is not the JSON that is documented, a query parameter is unknown, or the request is not valid HTTP.",
)
METHOD_NOT_ALLOWED = ProblemType(
    slug="method-not-allowed",
    status=405,
    title="Method not allowed",
    meaning="The resource exists but does not take that method. The header `Allow` names those it takes.",
)
BODY_TIMEOUT = ProblemType(
    slug="body-timeout",
    status=408,
    title="The body did not arrive in time",
    meaning="The headers came, the whole body did not. The connection is closed.",
)
TOO_LARGE = ProblemType(
    slug="too-large",
    status=413,
    title="Too much in one request",
    meaning="The body is larger than 1 MiB, or asks for more than 1000 keys. Send several requests.",
)
URL_TOO_LONG = ProblemType(
    slug="url-too-long",
    status=414,
    title="The URL is too long",
    meaning="Path and query exceed 8 KiB. Look long keys up with `predictions:lookup`, which takes them in the body.",
)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    slug="unsupported-media-type",
    status=415,
    title="Only JSON is read",
    meaning="The body must be `Content-Type: application/json`, UTF-8, not compressed.",
)
HEADERS_TOO_LARGE = ProblemType(
    slug="headers-too-large",
    status=431,
    title="Too many or too large headers",
    meaning="More than 100 header fields, or a request head of more than 64 KiB.",
)
INTERNAL = ProblemType(
    slug="internal",
    status=500,
    title="The server failed",
    meaning="A mistake in this server. Its log holds the details under the request id of the answer.",
)
STORE_CORRUPT = ProblemType(
    slug="store-corrupt",
    status=503,
    title="The live version cannot be read",
    meaning="A file of the store is missing or is not what its manifest promises. An operator has to roll back or restore it.",
)
STORE_UNAVAILABLE = ProblemType(
    slug="store-unavailable",
    status=503,
    title="The store cannot be read",
    meaning="The store is missing, or this server may not read it. Retry later; an operator has to bring it back.",
)

PROBLEM_TYPES = (
    UNKNOWN_TABLE,
    UNKNOWN_VERSION,
    UNKNOWN_KEY,
    NO_SUCH_PAGE,
    BAD_KEY,
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    BODY_TIMEOUT,
    TOO_LARGE,
    URL_TOO_LONG,
    UNSUPPORTED_MEDIA_TYPE,
    HEADERS_TOO_LARGE,
    INTERNAL,
    STORE_CORRUPT,
    STORE_UNAVAILABLE,
)
"""Every problem this API answers with, in the order of the documentation."""

_TRANSLATION: Mapping[type[ForetableError], ProblemType] = {
    errors.UnknownTable: UNKNOWN_TABLE,
    errors.UnknownVersion: UNKNOWN_VERSION,
    errors.UnknownKey: UNKNOWN_KEY,
    errors.NotFound: UNKNOWN_KEY,
    errors.BadKey: BAD_KEY,
    errors.StoreCorrupt: STORE_CORRUPT,
    errors.StoreError: STORE_UNAVAILABLE,
    # Nothing that reads raises these; if one arrives, the mistake is ours.
    ForetableError: INTERNAL,
}


class Refused(ForetableError):
    """A request that HTTP itself lets fail: its problem type is known where it is raised.

    Attributes:
        headers: extra response headers, e.g. ``Allow``. close: whether the rest of the connection must be dropped.
    """

    def __init__(
        self,
        problem: ProblemType,
        subject: str,
        *,
        expected: str = "",
        found: str = "",
        fix: str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(subject, expected=expected, found=found, fix=fix)
        self.problem = problem
        self.headers = ((b"connection", b"close"), *headers) if close else headers


class NoSuchTable(errors.UnknownTable):
    """A table that the release does not hold. ``tables``: those it does."""

    def __init__(self, subject: str, *, tables: tuple[str, ...], expected: str, found: str, fix: str) -> None:
        super().__init__(subject, expected=expected, found=found, fix=fix)
        self.tables = tables


def problem_type(error: ForetableError) -> ProblemType:
    """The problem type of an error: its own, or that of the nearest class above it in the tree."""
    if isinstance(error, Refused):
        return error.problem
    return next(_TRANSLATION[kind] for kind in type(error).__mro__ if kind in _TRANSLATION)


def describe(error: ForetableError, *, instance: str = "", request_id: str = "") -> Problem:
    """The problem document of an error."""
    kind = problem_type(error)
    return Problem(
        type=kind.uri,
        title=kind.title,
        status=kind.status,
        # The sentence of an error that nobody foresaw may name what a stranger should not read.
        detail=kind.meaning if kind is INTERNAL else str(error),
        instance=instance if len(instance) <= _LONGEST_INSTANCE else instance[:_LONGEST_INSTANCE] + "...",
        request_id=request_id,
        tables=error.tables if isinstance(error, NoSuchTable) else (),
    )


def method_not_allowed(method: str, allowed: str) -> Refused:
    """405, naming the methods that the resource takes."""
    return Refused(
        METHOD_NOT_ALLOWED,
        "method",
        expected=allowed.replace(", ", " or "),
        found=method if len(method) <= 20 else method[:20] + "...",
        fix="Use what 'Allow' names; /docs lists every call.",
        headers=((b"allow", allowed.encode()),),
    )


def require_no_query(query: bytes) -> None:
    """Refuse any query parameter: to ignore one would answer another question than was asked.

    Raises:
        Refused: there is one.
    """
    if not query:
        return
    name = query.decode("ascii", "replace").partition("&")[0].partition("=")[0]
    raise Refused(
        BAD_REQUEST,
        "query string",
        expected="no parameter",
        found=repr(name if len(name) <= 80 else name[:80] + "..."),
        fix="Remove it.",
    )
