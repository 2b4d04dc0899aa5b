"""Everything that can go wrong on purpose, as one tree.

    ForetableError                 one sentence each: subject, expected, found, what to do
    ├── DeclarationError           a prediction table that cannot work
    ├── SettingsError              an unknown or unusable setting
    ├── NotFound                   asked for something that is not there
    │   ├── UnknownTable
    │   ├── UnknownVersion
    │   ├── UnknownKey
    │   └── NoData                 nothing to train on or to score at this as-of
    ├── BadKey                     wrong number, name or type of key parts
    ├── DataRejected               a delivery failed its checks; the last good one stays
    ├── GateFailed                 a version was built, judged and refused
    ├── TrackingUnavailable        MLflow is down, slow, or refuses
    └── StoreError
        ├── StoreConflict          expected release 41, found 42
        ├── StoreLocked            another process is publishing
        ├── StoreCorrupt           a file does not hold what its manifest promises
        └── StoreUnavailable       missing, read-only, full, or held by somebody else

The core knows no exit codes and no HTTP codes; each edge translates this tree in one table.
"""

from __future__ import annotations


class ForetableError(Exception):
    """A failure a user can cause or mend.

    Every message is built from the same four parts, so that no error leaves its reader without a next step.

    Attributes:
        subject: what this is about, e.g. ``table 'flight_delays'``.
        expected: what would have been right; may be empty.
        found: what was there instead; may be empty.
        fix: what to do now, as an instruction.
    """

    def __init__(self, subject: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        self.subject = subject
        self.expected = expected
        self.found = found
        self.fix = fix
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        facts = ", ".join(
            part
            for part in (
                f"expected {self.expected}" if self.expected else "",
                f"found {self.found}" if self.found else "",
            )
            if part
        )
        sentence = f"{self.subject}: {facts}" if facts else self.subject
        return f"{sentence}. {self.fix}" if self.fix else f"{sentence}."


class DeclarationError(ForetableError):
    """A declaration that cannot work; ``subject`` names the file and the field once the loader knows them."""


class SettingsError(ForetableError):
    """A setting that is unknown, malformed, or points nowhere."""


class NotFound(ForetableError):
    """Something was asked for that is not there."""


class UnknownTable(NotFound):
    """No prediction table of that name is declared or published."""


class UnknownVersion(NotFound):
    """That version was never built, or is no longer kept."""


class UnknownKey(NotFound):
    """The table version holds no such entity."""


class NoData(NotFound):
    """No labelled rows to train on, or no entities to score, at this as-of."""


class BadKey(ForetableError):
    """A key with the wrong number of parts, an unknown part, or a part of the wrong type."""


class DataRejected(ForetableError):
    """A delivery failed its checks. ``report`` lists every failed check as (file, column, check, rows)."""

    def __init__(
        self,
        subject: str,
        *,
        expected: str = "",
        found: str = "",
        fix: str = "",
        report: tuple[tuple[str, str, str, str], ...] = (),
    ) -> None:
        super().__init__(subject, expected=expected, found=found, fix=fix)
        self.report = report


class GateFailed(ForetableError):
    """A version failed one or more gates; live is untouched and the failed version is kept with its report."""


class TrackingUnavailable(ForetableError):
    """The experiment tracker does not answer. Nothing that is published depends on it."""


class StoreError(ForetableError):
    """The versioned store could not do what was asked."""


class StoreConflict(StoreError):
    """Somebody else published first (compare-and-swap)."""


class StoreLocked(StoreError):
    """Another live process holds the publish lock."""


class StoreCorrupt(StoreError):
    """A file is missing, truncated, changed, or foreign."""


class StoreUnavailable(StoreError):
    """The store is missing, not writable, or the disk is full."""
