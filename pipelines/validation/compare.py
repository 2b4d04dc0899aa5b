"""A delivery against limits and against what earlier ones were like. Pure: profiles in, findings out.

What is usual is a median over earlier deliveries, and how much it varies a median absolute deviation (MAD): one odd
delivery among them moves neither. A limit is widened to six of these deviations, so that what has always varied may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from batch_scoring.data_checks import Finding, Limit, TunableCheck, rule_for
from batch_scoring.declare import RawFile
from pipelines.validation.dates import Dates, only_early_days, share_after, share_ancient, swapped_evidence
from pipelines.validation.profile import QUANTILES, ColumnProfile, FileProfile, Measured
from pipelines.validation.statistics import Tested, adjusted, anova, chi_square, correlation_change

_MAD_TO_SIGMA = 1.4826
_SIGMAS = 6.0
_SHOWN = 5
_FEW = {"rows": 100.0, "bytes": 20_000.0}
"""A difference that is never odd: small files vary by chance."""

_TESTS = {
    "chi_square": "has the usual distribution of values, to a Cramér's V of at most {limit:g}",
    "anova": "has the usual mean, to an eta squared of at most {limit:g}",
    "target_leak": "does not come to know the target better, |r| rising by at most {limit:g}",
    "target_drift": "keeps its relation to the target, |r| falling by at most {limit:g}",
}

Rows = int
Past = Sequence[tuple[ColumnProfile, Rows]]
"""A column in each earlier delivery, with the delivery's rows."""


def judge_volume(raw: RawFile, bytes_now: int, rows: int | None, past: Sequence[FileProfile]) -> Iterator[Finding]:
    """Size and, if the file could be read, row count against earlier deliveries."""
    yield from _ratio(raw, "size", "bytes", bytes_now, [each.bytes for each in past])
    if rows is not None:
        yield from _ratio(raw, "row_count", "rows", rows, [each.rows for each in past])


def judge_content(raw: RawFile, measured: Measured, past: Sequence[FileProfile], at: datetime) -> Iterator[Finding]:
    """Every check of what is in the columns.

    Args:
        past: earlier accepted deliveries of the same source, any order. at: the moment that dates are compared with.
    """
    now = measured.profile
    enough = len(past) >= raw.compare.at_least
    for column in now.columns:
        yield from _null_share(raw, column, now.rows)
        if column.name in measured.dates and measured.dates[column.name].counts:
            yield from _dates(raw, column.name, measured.dates[column.name], at)
        if enough and now.rows > column.nulls:
            before = [(found, each.rows) for each in past if (found := each.column(column.name)) and found.kind == column.kind]
            yield from _against(raw, column, now.rows, before)
        elif enough:
            yield from _null_jump(raw, column, now.rows, _known(past, column.name))
    if enough:
        yield from _tests(raw, now, past)


def _ratio(raw: RawFile, check: TunableCheck, unit: str, now: float, past: Sequence[float]) -> Iterator[Finding]:
    rule = rule_for(raw.limits, check)
    if rule.severity == "off" or len(past) < raw.compare.at_least:
        return
    usual, slack = median(past), max(_slack(past), _FEW[unit])
    low, high = min(usual / rule.limit, usual - slack), max(usual * rule.limit, usual + slack)
    factor = max(now / usual, usual / now) if now and usual else float("inf")
    yield Finding(
        source=raw.name,
        check=check,
        severity=rule.severity,
        passed=low <= now <= high,
        must=f"has {max(low, 0):,.0f} to {high:,.0f} {unit}, judging by {len(past)} earlier deliveries of usually {usual:,.0f}",
        found=f"{now:,.0f}",
        observed=_finite(factor),
        limit=rule.limit,
    )


def _null_share(raw: RawFile, column: ColumnProfile, rows: Rows) -> Iterator[Finding]:
    share = column.nulls / rows
    yield from _at_most(raw, "null_share", column.name, share, "has at most {limit:.1%} nulls", f"{share:.1%} ({column.nulls:,})")


def _null_jump(raw: RawFile, column: ColumnProfile, rows: Rows, past: Past) -> Iterator[Finding]:
    if not past:
        return
    shares = [each.nulls / count for each, count in past if count]
    usual, share = median(shares), column.nulls / rows
    yield from _at_most(
        raw,
        "null_jump",
        column.name,
        abs(share - usual),
        f"has a share of nulls within {{limit:.1%}} points of its usual {usual:.1%}",
        f"{share:.1%}",
        slack=_slack(shares),
    )


def _against(raw: RawFile, column: ColumnProfile, rows: Rows, past: Past) -> Iterator[Finding]:
    yield from _null_jump(raw, column, rows, past)
    if column.kind == "number":
        yield from _range(raw, column, past)
        yield from _moved(raw, column, past)
    elif column.kind == "category":
        yield from _categories(raw, column, rows, past)


def _range(raw: RawFile, column: ColumnProfile, past: Past) -> Iterator[Finding]:
    lows = [each.low for each, _ in past if each.low is not None]
    highs = [each.high for each, _ in past if each.high is not None]
    if not lows or column.low is None or column.high is None or not column.quantiles:  # none: a number that counts on
        return
    low, high = min(lows), max(highs)
    beyond = max(low - column.low, column.high - high, 0.0)
    yield from _at_most(
        raw,
        "range",
        column.name,
        _in_units(beyond, high - low),
        f"stays within {{limit:g}} spans of the usual {low:g} to {high:g}",
        f"{column.low:g} to {column.high:g}",
    )


def _moved(raw: RawFile, column: ColumnProfile, past: Past) -> Iterator[Finding]:
    """Distance of each quantile from its usual value, in usual interquartile ranges."""
    known = [each.quantiles for each, _ in past if len(each.quantiles) == len(QUANTILES)]
    if not known or len(column.quantiles) != len(QUANTILES):
        return
    usual = [median(each[at] for each in known) for at in range(len(QUANTILES))]
    # A column that is mostly one value has no interquartile range; then what 90 % of rows span, then the whole.
    spread = usual[3] - usual[1] or usual[4] - usual[0] or _span(past)
    middle = len(QUANTILES) // 2
    moves = [_in_units(abs(column.quantiles[at] - usual[at]), spread) for at in range(len(QUANTILES))]
    outer = max((at for at in range(len(QUANTILES)) if at != middle), key=lambda at: moves[at])
    checks: tuple[tuple[TunableCheck, int], ...] = (("median", middle), ("quantiles", outer))
    for check, at in checks:
        yield from _at_most(
            raw,
            check,
            column.name,
            moves[at],
            f"keeps its {QUANTILES[at]:.0%} quantile within {{limit:.3g}} usual spreads of {usual[at]:g}",
            f"{column.quantiles[at]:g}",
            slack=_in_units(_slack([each[at] for each in known]), spread),
        )


def _categories(raw: RawFile, column: ColumnProfile, rows: Rows, past: Past) -> Iterator[Finding]:
    known = [(each.categories, count - each.nulls) for each, count in past if each.categories is not None and count > each.nulls]
    if not known or column.categories is None:
        return
    here = rows - column.nulls
    ever = set().union(*(categories for categories, _ in known))
    usual = {name: median(categories.get(name, 0) / count for categories, count in known) for name in ever}
    shares = {name: count / here for name, count in column.categories.items()}
    unseen = sorted((name for name in shares if name not in ever), key=lambda name: -shares[name])
    yield from _at_most(
        raw,
        "unseen_categories",
        column.name,
        sum(shares[name] for name in unseen),
        "has values never seen before in at most {limit:.1%} of its rows",
        f"{_names(unseen, column)} in {sum(shares[name] for name in unseen):.1%}" if unseen else "none",
    )
    vanished = sorted((name for name in ever if name not in shares), key=lambda name: -usual[name])
    yield from _at_most(
        raw,
        "vanished_categories",
        column.name,
        max((usual[name] for name in vanished), default=0.0),
        "loses no value that usually makes up more than {limit:.1%}",
        f"without {_names(vanished, column)}" if vanished else "all of them",
    )
    distances = [_distance({name: categories.get(name, 0) / count for name in ever}, usual) for categories, count in known]
    yield from _at_most(
        raw,
        "category_shares",
        column.name,
        _distance(shares, usual),
        "has the usual shares but for {limit:.0%} of its rows",
        f"{_distance(shares, usual):.1%} differ",
        slack=_slack(distances) + median(distances),
    )


def _dates(raw: RawFile, column: str, dates: Dates, at: datetime) -> Iterator[Finding]:
    first, last = dates.counts[0][0], dates.counts[-1][0]
    yield from _at_most(
        raw,
        "future_dates",
        column,
        share_after(dates, at),
        f"has at most {{limit:.1%}} of its dates after {at:%Y-%m-%d}",
        f"{share_after(dates, at):.2%}, up to {last}",
    )
    yield from _at_most(
        raw,
        "ancient_dates",
        column,
        share_ancient(dates),
        "has at most {limit:.1%} of its dates before 1900 or on a day that stands for none",
        f"{share_ancient(dates):.2%}, from {first}",
    )
    early = only_early_days(dates)
    evidence = 1.0 if early else max(swapped_evidence(dates), 0.0)
    seen = "no day after the 12th" if early else f"days that fit {'better' if evidence > 0 else 'no better'} with the two swapped"
    yield from _at_most(raw, "swapped_dates", column, evidence, "has day and month in their places", seen)


def _tests(raw: RawFile, now: FileProfile, past: Sequence[FileProfile]) -> Iterator[Finding]:
    """The optional statistics: all tests first, since each p-value is judged among the others."""
    tests = [
        (check, column, tested)
        for column in now.columns
        for check, tested in _column_tests(raw.limits, column, now.rows, _known(past, column.name))
    ]
    for (check, column, tested), p in zip(tests, adjusted([tested.p for _, _, tested in tests]), strict=True):
        yield from _at_most(
            raw,
            check,
            column.name,
            tested.effect,
            _TESTS[check],
            f"{tested.effect:.3g}, adjusted p = {p:.2g}",
            excused=p > raw.compare.alpha,
        )


def _column_tests(
    limits: tuple[Limit, ...], column: ColumnProfile, rows: Rows, past: Past
) -> Iterator[tuple[TunableCheck, Tested]]:
    def wanted(check: TunableCheck) -> bool:
        return rule_for(limits, check, column.name).severity != "off"

    present = rows - column.nulls
    if column.categories is not None and wanted("chi_square"):
        pooled: dict[str, int] = {}
        for each, _ in past:
            for name, count in (each.categories or {}).items():
                pooled[name] = pooled.get(name, 0) + count
        if tested := chi_square(column.categories, pooled):
            yield "chi_square", tested
    if column.kind == "number" and wanted("anova") and (tested := _usual_mean(column, present, past)):
        yield "anova", tested
    known = [each.correlation for each, _ in past if each.correlation is not None]
    if known and column.correlation is not None:
        counts = sum(count - each.nulls for each, count in past if each.correlation is not None)
        if tested := correlation_change(column.correlation, present, median(known), counts):
            changes: tuple[tuple[TunableCheck, float], ...] = (("target_leak", tested.effect), ("target_drift", -tested.effect))
            for check, effect in changes:
                if wanted(check):
                    yield check, Tested(effect=max(effect, 0.0), p=tested.p)


def _usual_mean(column: ColumnProfile, present: Rows, past: Past) -> Tested | None:
    """The delivery against what is usual: one odd delivery among the earlier ones is no finding of those that follow it."""
    known = [
        (count - each.nulls, each.mean, each.deviation)
        for each, count in past
        if each.mean is not None and each.deviation is not None
    ]
    if not known or column.mean is None or column.deviation is None:
        return None
    counts, means, deviations = zip(*known, strict=True)
    return anova([(sum(counts), median(means), median(deviations)), (present, column.mean, column.deviation)])


def _at_most(
    raw: RawFile,
    check: TunableCheck,
    column: str,
    observed: float,
    must: str,
    found: str,
    *,
    slack: float = 0.0,
    excused: bool = False,
) -> Iterator[Finding]:
    """A finding that passes up to the check's limit, or up to ``slack`` where that is more; ``must`` says ``{limit}``."""
    rule = rule_for(raw.limits, check, column)
    if rule.severity == "off":
        return
    limit = max(rule.limit, slack)
    yield Finding(
        source=raw.name,
        column=column,
        check=check,
        severity=rule.severity,
        passed=excused or observed <= limit,
        must=must.format(limit=limit),
        found=found,
        observed=_finite(observed),
        limit=_finite(limit),
    )


def _known(past: Sequence[FileProfile], name: str) -> Past:
    return [(found, each.rows) for each in past if (found := each.column(name))]


def _slack(values: Sequence[float]) -> float:
    """Six robust standard deviations."""
    middle = median(values)
    return _SIGMAS * _MAD_TO_SIGMA * median(abs(value - middle) for value in values)


def _span(past: Past) -> float:
    lows = [each.low for each, _ in past if each.low is not None]
    highs = [each.high for each, _ in past if each.high is not None]
    return max(highs) - min(lows) if lows and highs else 0.0


def _in_units(distance: float, unit: float) -> float:
    """A distance in units of what is usual; where nothing has ever varied, any distance is beyond every limit."""
    return 0.0 if distance == 0 else distance / unit if unit > 0 else float("inf")


def _distance(one: dict[str, float], other: dict[str, float]) -> float:
    """Total variation distance of two distributions: the share of rows that would have to change."""
    names = set(one) | set(other)
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in names) / 2


def _names(names: list[str], column: ColumnProfile) -> str:
    """The first values of some; of a key only how many, for a finding is kept where an erased entity must not be named."""
    if column.key:
        return f"{len(names):,} key value{'s' if len(names) != 1 else ''}"
    return ", ".join(repr(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if abs(value) != float("inf") else None
