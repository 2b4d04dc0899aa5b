"""Checks of incoming data: their names, their limits, and what one of them saw. Declared beside the source they watch.

Pure values; :mod:`pipelines.validation` measures and judges. A new table needs to declare nothing: checks of the bytes and
of ``checks.py`` always hold, those against earlier deliveries speak once there are enough of them, and statistics are off
until they are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from batch_scoring.errors import DeclarationError

Severity = Literal["warn", "error", "off"]
"""``error`` rejects the delivery, ``warn`` reports, ``off`` does not look."""

FixedCheck = Literal[
    "exists",
    "readable",
    "stable",
    "checksum",
    "archive",
    "encoding",
    "format",
    "columns",
    "has_rows",
    "types",
    "timestamp_format",
    "declared",
    "duplicate_keys",
    "dataset_keys",
]
"""Checks that always reject: without them there is no table to speak of, or ``checks.py`` asks for them."""

TunableCheck = Literal[
    "size",
    "row_count",
    "null_share",
    "null_jump",
    "range",
    "median",
    "quantiles",
    "unseen_categories",
    "vanished_categories",
    "category_shares",
    "future_dates",
    "ancient_dates",
    "swapped_dates",
    "chi_square",
    "anova",
    "target_leak",
    "target_drift",
]
"""Checks with a number and a limit."""

FIXED: tuple[str, ...] = get_args(FixedCheck)
TUNABLE: tuple[TunableCheck, ...] = get_args(TunableCheck)
CHECKS: tuple[str, ...] = FIXED + TUNABLE
"""Every check, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a check counts and what it allows."""

    severity: Severity
    limit: float


DEFAULTS: dict[TunableCheck, Rule] = {
    "size": Rule(severity="warn", limit=3.0),
    "row_count": Rule(severity="error", limit=3.0),
    "null_share": Rule(severity="warn", limit=0.999),
    "null_jump": Rule(severity="warn", limit=0.05),
    "range": Rule(severity="warn", limit=0.5),
    "median": Rule(severity="warn", limit=0.25),
    "quantiles": Rule(severity="warn", limit=0.5),
    "unseen_categories": Rule(severity="warn", limit=0.01),
    "vanished_categories": Rule(severity="warn", limit=0.02),
    "category_shares": Rule(severity="warn", limit=0.2),
    "future_dates": Rule(severity="warn", limit=0.0),
    "ancient_dates": Rule(severity="warn", limit=0.0),
    "swapped_dates": Rule(severity="warn", limit=0.3),
    "chi_square": Rule(severity="off", limit=0.1),
    "anova": Rule(severity="off", limit=0.02),
    "target_leak": Rule(severity="off", limit=0.2),
    "target_drift": Rule(severity="off", limit=0.2),
}
"""What holds where nothing is declared. ``docs/validation.md`` says what each limit means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Another severity or limit for one check, of some columns or of all.

    Attributes:
        check: its name. severity, limit: None leaves the default.
        columns: which it is for; empty means all. Of several that fit, the last declared counts.
    """

    check: TunableCheck
    severity: Severity | None = None
    limit: float | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.check not in TUNABLE:
            fixed = self.check in FIXED
            raise DeclarationError(
                "Limit.check",
                expected=f"one of {', '.join(TUNABLE)}",
                found=f"{self.check!r}{', which always rejects' if fixed else ''}",
                fix="Correct checks.py, or the file." if fixed else "Name one of them.",
            )
        if self.severity not in (None, "warn", "error", "off"):
            raise DeclarationError(
                "Limit.severity", expected="'warn', 'error' or 'off'", found=repr(self.severity), fix="Choose one of them."
            )
        least = 1.0 if self.check in ("size", "row_count") else 0.0
        if self.limit is not None and not (math.isfinite(self.limit) and self.limit >= least):
            raise DeclarationError(
                "Limit.limit", expected=f"a number of {least:g} or more", found=repr(self.limit), fix="Give a usable limit."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """What a delivery is compared with.

    Attributes:
        deliveries: the newest so many accepted ones, of different content. at_least: with fewer, nothing is compared.
        alpha: share of false alarms (Benjamini–Hochberg) that the statistics of one delivery may raise.
        target: column whose correlation with the others is watched by ``target_leak`` and ``target_drift``.
    """

    deliveries: int = 10
    at_least: int = 3
    alpha: float = 0.01
    target: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.at_least <= self.deliveries <= 1000:
            raise DeclarationError(
                "Compare.at_least",
                expected="1 ≤ at_least ≤ deliveries ≤ 1000",
                found=f"{self.at_least} and {self.deliveries}",
                fix="Lower at_least or raise deliveries.",
            )
        if not 0 < self.alpha < 1:
            raise DeclarationError("Compare.alpha", expected="a share", found=repr(self.alpha), fix="Give e.g. 0.01.")


def rule_for(limits: tuple[Limit, ...], check: TunableCheck, column: str = "") -> Rule:
    """The default of a check with what was declared for the column (empty: for the file) laid over it."""
    rule = DEFAULTS[check]
    for limit in limits:
        if limit.check == check and (not limit.columns or column in limit.columns):
            severity = rule.severity if limit.severity is None else limit.severity
            rule = Rule(severity=severity, limit=rule.limit if limit.limit is None else limit.limit)
    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw in one source.

    Attributes:
        source: name of the raw file (of the dataset for ``dataset_keys``). column: empty for the whole file.
        must: what should hold, as a predicate, e.g. "is unique". found: what was there.
        observed, limit: the same as numbers, where there are numbers.
    """

    source: str
    check: str
    severity: Literal["warn", "error"]
    passed: bool
    must: str
    found: str
    column: str = ""
    observed: float | None = None
    limit: float | None = None

    @property
    def rejects(self) -> bool:
        """Whether this alone refuses the delivery."""
        return self.severity == "error" and not self.passed

    @property
    def sentence(self) -> str:
        """For a person, e.g. "column 'amount' of 'orders': expected that it is above 0; found 1 row: 12."."""
        subject = f"column '{self.column}' of '{self.source}'" if self.column else f"'{self.source}'"
        return f"{subject}: expected that it {self.must}; found {self.found}."


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What all checks saw in one delivery: every finding, not only the first that failed.

    Attributes:
        delivery: its name, a hash of content and declarations; also that of its quarantine folder.
        checked_at: the moment it was judged as of: when its newest file was delivered, or as the caller said.
    """

    delivery: str
    checked_at: datetime
    accepted: bool
    findings: tuple[Finding, ...]

    def condensed(self) -> DataReport:
        """The same with one finding per source and check where all passed, and every one that failed."""
        worst: dict[tuple[str, str], Finding] = {}
        failed = [finding for finding in self.findings if not finding.passed]
        seen = {(finding.source, finding.check) for finding in failed}
        for finding in self.findings:
            place = finding.source, finding.check
            if place not in seen and (place not in worst or (finding.observed or 0) > (worst[place].observed or 0)):
                worst[place] = finding
        return DataReport(
            delivery=self.delivery,
            checked_at=self.checked_at,
            accepted=self.accepted,
            findings=(*failed, *worst.values()),
        )
