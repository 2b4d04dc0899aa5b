"""What is usual, what is odd, and what the statistics say: against SciPy and against plain sense."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from batch_scoring.data_checks import DEFAULTS, FIXED, TUNABLE, Compare, Limit, rule_for
from batch_scoring.declare import Csv, LandedFile, RawFile
from batch_scoring.errors import DeclarationError
from pipelines.validation.compare import judge_content, judge_volume
from pipelines.validation.dates import Dates, only_early_days, share_after, share_ancient, swapped_evidence
from pipelines.validation.profile import ColumnProfile, FileProfile, Measured
from pipelines.validation.statistics import adjusted, anova, chi_square, correlation_change

RAW = RawFile(name="book", location=LandedFile(path="book.csv"), format=Csv(), checks="Book")
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def profile(rows: int, *columns: ColumnProfile, sha256: str = "") -> FileProfile:
    return FileProfile(source="book", sha256=sha256, bytes=rows * 10, rows=rows, columns=columns)


def failed(raw: RawFile, now: FileProfile, past: list[FileProfile]) -> set[str]:
    findings = [*judge_volume(raw, now.bytes, now.rows, past), *judge_content(raw, Measured(profile=now), past, NOON)]
    return {finding.check for finding in findings if not finding.passed}


def test_nothing_is_compared_before_there_is_enough_to_compare_with():
    for count in range(5):
        past = [profile(10_000 + at) for at in range(count)]
        assert failed(RAW, profile(1), past) == (set() if count < 3 else {"size", "row_count"})


def test_one_odd_delivery_among_the_earlier_ones_hides_nothing():
    past = [profile(rows) for rows in (10_000, 10_100, 9_900, 10_000, 10_000_000)]
    assert failed(RAW, profile(2_000), past) == {"size", "row_count"}
    assert failed(RAW, profile(11_000), past) == set()


def test_a_small_file_varies_by_chance():
    assert failed(RAW, profile(90), [profile(rows) for rows in (1, 2, 1)]) == set()


def test_what_has_always_varied_may_vary():
    past = [profile(rows) for rows in (10, 400, 100, 900, 50, 300, 700)]
    assert failed(RAW, profile(1500), past) == set()


def test_a_column_that_never_varied_and_now_does_is_reported():
    flat = ColumnProfile(name="x", kind="number", nulls=0, distinct=1, low=5, high=5, mean=5, deviation=0, quantiles=(5.0,) * 5)
    moved = replace(flat, low=6, high=6, mean=6, quantiles=(6.0,) * 5)
    assert failed(RAW, profile(100, flat), [profile(100, flat)] * 3) == set()
    assert failed(RAW, profile(100, moved), [profile(100, flat)] * 3) == {"range", "median", "quantiles"}


def test_a_limit_is_laid_over_the_default_for_its_columns_and_the_last_one_counts():
    limits = (Limit(check="range", limit=9.0), Limit(check="range", severity="off", columns=("x",)), Limit(check="size", limit=2))
    assert rule_for(limits, "range", "y") == replace(DEFAULTS["range"], limit=9.0)
    assert (rule_for(limits, "range", "x").severity, rule_for(limits, "range", "x").limit) == ("off", 9.0)
    assert rule_for(limits, "median", "x") == DEFAULTS["median"]


def test_a_waived_column_is_silent_and_its_neighbour_is_not():
    flat = [ColumnProfile(name=name, kind="number", nulls=0, distinct=1, low=5, high=5, quantiles=(5.0,) * 5) for name in "xy"]
    moved = [replace(column, low=9, high=9) for column in flat]
    raw = replace(RAW, limits=(Limit(check="range", severity="off", columns=("x",)),))
    findings = judge_content(raw, Measured(profile=profile(9, *moved)), [profile(9, *flat)] * 3, NOON)
    assert [finding.column for finding in findings if not finding.passed] == ["y"]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Limit(check="encoding"), "Limit.check"),
        (lambda: Limit(check="rnage"), "Limit.check"),
        (lambda: Limit(check="range", severity="fatal"), "Limit.severity"),
        (lambda: Limit(check="range", limit=-1.0), "Limit.limit"),
        (lambda: Limit(check="row_count", limit=0.5), "Limit.limit"),
        (lambda: Compare(at_least=0), "Compare.at_least"),
        (lambda: Compare(deliveries=2), "Compare.at_least"),
        (lambda: Compare(alpha=1.0), "Compare.alpha"),
    ],
)
def test_a_limit_that_cannot_work_fails_where_it_is_written(make, field: str):
    with pytest.raises(DeclarationError, match=field):
        make()


def test_every_tunable_check_has_a_default():
    assert set(DEFAULTS) == set(TUNABLE)
    assert not set(FIXED) & set(TUNABLE)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_p_values_are_adjusted_as_scipy_does(p_values: list[float]):
    assert adjusted(p_values) == pytest.approx(scipy.stats.false_discovery_control(p_values).tolist(), abs=1e-12)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=8))
def test_chi_square_agrees_with_scipy(counts: list[tuple[int, int]]):
    now = {str(at): a for at, (a, _) in enumerate(counts) if a}
    before = {str(at): b for at, (_, b) in enumerate(counts) if b}
    tested = chi_square(now, before)
    if not now or not before or len(set(now) | set(before)) < 2:
        assert tested is None
        return
    table = np.array([(a, b) for a, b in counts if a + b]).T
    answer = scipy.stats.chi2_contingency(table, correction=False)
    assert tested is not None
    assert tested.p == pytest.approx(answer.pvalue, rel=1e-6, abs=1e-12)
    assert tested.effect == pytest.approx(scipy.stats.contingency.association(table, method="cramer"), abs=1e-9)


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=15), min_size=2, max_size=5))
def test_anova_agrees_with_scipy(groups: list[list[float]]):
    assume(any(len(set(group)) > 1 for group in groups))
    answer = scipy.stats.f_oneway(*groups).pvalue
    assume(math.isfinite(answer))  # SciPy's sums may leave a negative F where all means are equal
    tested = anova([(len(group), float(np.mean(group)), float(np.std(group, ddof=1))) for group in groups])
    assert tested is not None
    assert tested.p == pytest.approx(answer, rel=1e-5, abs=1e-9)
    assert 0 <= tested.effect <= 1


def test_a_correlation_that_rises_or_falls_has_a_sign_and_a_p_value():
    rose, fell = correlation_change(0.9, 1000, 0.1, 1000), correlation_change(-0.1, 1000, -0.9, 1000)
    assert rose
    assert fell
    assert rose.effect == pytest.approx(0.8)
    assert fell.effect == pytest.approx(-0.8)
    assert max(rose.p, fell.p) < 1e-9
    assert correlation_change(1.0, 1000, 1.0, 1000).p == 1.0
    assert correlation_change(0.5, 5, 0.5, 1000) is None


def test_statistics_need_an_effect_and_evidence():
    raw = replace(RAW, limits=(Limit(check="anova", severity="warn"),))

    def column(mean: float) -> ColumnProfile:
        return ColumnProfile(name="x", kind="number", nulls=0, distinct=9, mean=mean, deviation=1.0)

    assert failed(raw, profile(1_000_000, column(0.01)), [profile(1_000_000, column(0.0))] * 3) == set()
    assert failed(raw, profile(1_000_000, column(1.0)), [profile(1_000_000, column(0.0))] * 3) == {"anova"}
    assert "anova" not in failed(raw, profile(4, column(0.6)), [profile(4, column(0.0))] * 3)
    odd = profile(1_000_000, column(5.0))  # once accepted, it is no reason to refuse what is as it always was
    assert failed(raw, profile(1_000_000, column(0.0)), [odd, *[profile(1_000_000, column(0.0))] * 3]) == set()


def dates(days: list[date], rows: int = 10) -> Dates:
    """A file in order of time with so many rows a day."""
    steps = [(b > a) - (b < a) for a, b in pairwise(days)]
    turned = [turn(day) for day in days]
    back = [(b > a) - (b < a) for a, b in pairwise(turned)]
    counts: dict[date, int] = {}
    for day in days:
        counts[day] = counts.get(day, 0) + rows
    return Dates(
        counts=tuple(sorted(counts.items())),
        falls=steps.count(-1),
        rises=steps.count(1),
        swapped_falls=back.count(-1),
        swapped_rises=back.count(1),
    )


def turn(day: date) -> date:
    return day.replace(month=day.day, day=day.month) if day.day <= 12 else day


@given(st.dates(date(1950, 1, 1), date(2050, 1, 1)), st.integers(1, 1500))
def test_days_on_end_are_never_taken_for_swapped(first: date, count: int):
    found = dates([first + timedelta(days=at) for at in range(count)])
    assert swapped_evidence(found) <= DEFAULTS["swapped_dates"].limit


@given(st.dates(date(1950, 1, 1), date(2050, 1, 1)), st.integers(40, 1500))
def test_swapped_days_of_a_file_in_order_of_time_are_found(first: date, count: int):
    days = [turn(first + timedelta(days=at)) for at in range(count)]
    steps = sum(b < a for a, b in pairwise(days))
    assume(steps >= 5)
    assert swapped_evidence(dates(days)) > DEFAULTS["swapped_dates"].limit


def test_a_file_without_any_day_after_the_12th_is_suspicious_unless_it_never_has_one():
    early = [date(2024, month, day) for month in range(1, 7) for day in range(1, 13)]
    assert only_early_days(dates(early))
    assert not only_early_days(dates([date(2024, month, 1) for month in range(1, 13)]))


def test_dates_that_favour_the_first_of_the_month_are_not_taken_for_swapped():
    firsts = [date(2024, month, 1) for month in range(1, 13)] * 30
    assert (
        swapped_evidence(dates(sorted([*firsts, date(2024, 1, 15), date(2024, 1, 16)]), rows=20))
        <= DEFAULTS["swapped_dates"].limit
    )


def test_future_and_ancient_days_are_counted_by_rows():
    found = dates(
        [date(1890, 1, 1), date(1970, 1, 1), *[date(2024, 5, day) for day in range(1, 29)], date(2024, 6, 2), date(2024, 6, 3)]
    )
    assert share_after(found, NOON) == pytest.approx(1 / 32)
    assert share_ancient(found) == pytest.approx(2 / 32)
    assert share_ancient(dates([date(1969, 12, 30) + timedelta(days=at) for at in range(40)])) == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_p_value_is_a_probability(now: float, before: float):
    tested = correlation_change(now, 100, before, 100)
    assert tested
    assert 0 <= tested.p <= 1
    assert math.isfinite(tested.effect)
