"""A sample has every stratum's share within one row, and comes out the same however the rows lie."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made import table

from batch_scoring import HoldOut, Label, Model, Sampled, Schedule
from batch_scoring.declare import show_window
from batch_scoring.domain import Column
from batch_scoring.errors import DeclarationError
from pipelines.training.cells import Evaluator
from pipelines.training.fit import TrainingData, encode_training
from pipelines.training.folds import Block, in_window, known, plan_blocks
from pipelines.training.samples import quotas, row_hashes, sample, training_rows
from pipelines.training.search import search

ZONE = "America/New_York"
LABEL = Label(sql="label.sql", horizon=timedelta(days=1), delay=timedelta(0))
HASHES = [3660608199343272382, 14995209769010861078, 2960997461167989947]
KEYS, SEGMENTS = ("id", "place"), ("place", "kind")


def made(rows: int, seed: int = 0, days: int = 90) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    moments = [datetime(2024, 1, 1, 5, tzinfo=UTC) + timedelta(days=int(day)) for day in rng.integers(0, days, rows)]
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "place": rng.choice(["JFK", "Köln", "東京"], rows),
            "event_timestamp": moments,
            "label_known_at": [moment + timedelta(days=1) for moment in moments],
            "label": rng.integers(0, 2, rows),
            "kind": rng.choice([None, "a", "b"], rows).tolist(),
        },
        schema_overrides={"kind": pl.String, "event_timestamp": pl.Datetime("us", "UTC")},
    )


def stratum(row: dict[str, object], bucket: str) -> tuple[object, ...]:
    day: date = row["event_timestamp"].astimezone(ZoneInfo(ZONE)).date()  # type: ignore[attr-defined]
    begins = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[bucket]
    return begins, row["place"], row["kind"]


def drawn(frame: pl.DataFrame, window: Sampled, rows: np.ndarray | None = None) -> np.ndarray:
    chosen = np.ones(len(frame), dtype=bool) if rows is None else rows
    return sample(frame, chosen, window, keys=KEYS, segments=SEGMENTS, timezone=ZONE)


@given(
    rows=st.integers(1, 300),
    wanted=st.integers(1, 400),
    bucket=st.sampled_from(["day", "week", "month"]),
    seed=st.integers(0, 5),
    part=st.floats(0, 1),
)
def test_every_stratum_has_its_share_within_one_row(rows: int, wanted: int, bucket: str, seed: int, part: float) -> None:
    frame = made(rows, seed)
    among = np.random.default_rng(seed).random(rows) < part
    chosen = drawn(frame, Sampled(rows=wanted, bucket=bucket), among)  # type: ignore[arg-type]
    assert not (chosen & ~among).any()
    assert chosen.sum() == min(wanted, among.sum())
    sizes = Counter(stratum(row, bucket) for row in frame.filter(pl.Series(among)).to_dicts())
    got = Counter(stratum(row, bucket) for row in frame.filter(pl.Series(chosen)).to_dicts())
    for name, size in sizes.items():
        assert abs(got[name] - Fraction(size * min(wanted, int(among.sum())), int(among.sum()))) < 1


@given(rows=st.integers(2, 200), seed=st.integers(0, 3), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: int, seed: int, shuffle: object) -> None:
    frame = made(rows, seed)
    order = list(range(rows))
    shuffle.shuffle(order)  # type: ignore[attr-defined]
    window = Sampled(rows=max(rows // 3, 1))
    straight = set(frame.filter(pl.Series(drawn(frame, window)))["id"])
    mixed = frame[order]
    assert set(mixed.filter(pl.Series(drawn(mixed, window)))["id"]) == straight


def test_a_row_that_comes_late_does_not_reshuffle_the_others() -> None:
    """The draw follows from each row alone: within a stratum a smaller sample is part of a larger one."""
    frame = made(600)
    one_stratum = np.array([stratum(row, "month")[1:] == ("JFK", "a") for row in frame.to_dicts()])
    small, large = (drawn(frame, Sampled(rows=rows, bucket="month"), one_stratum) for rows in (10, 40))
    assert (large & small).sum() >= 9  # quotas of three months may shift by one


def test_the_seed_changes_the_draw_and_nothing_else_does() -> None:
    frame = made(500)
    first, again, other = (drawn(frame, Sampled(rows=50, seed=seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_hash_of_a_row_is_the_same_for_ever() -> None:
    """Written down: whoever changes it changes every sampled model that was ever made."""
    rows = pl.DataFrame(
        {"id": [-1, 0, 7], "place": ["JFK", "", "東京"], "event_timestamp": [datetime(2024, 3, 1, 5, tzinfo=UTC)] * 3}
    )
    assert row_hashes(rows, seed=7).tolist() == HASHES


@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=30), share=st.floats(0, 1))
def test_quotas_add_up_and_never_ask_for_more_than_there_is(sizes: list[int], share: float) -> None:
    total = int(sum(sizes) * share)
    given_rows = quotas(np.array(sizes), total)
    assert given_rows.sum() == total
    for size, quota in zip(sizes, given_rows.tolist(), strict=True):
        assert 0 <= quota <= size
        assert not sum(sizes) or abs(quota - Fraction(size * total, sum(sizes))) < 1


def data(frame: pl.DataFrame) -> TrainingData:
    from dataclasses import replace

    encoded = encode_training(frame, (Column(name="kind", type="VARCHAR", role="feature"),))
    return replace(encoded, keys=KEYS, segments=SEGMENTS, timezone=ZONE)


def test_a_model_is_fitted_on_a_sample_of_what_its_window_holds_and_on_no_other_row() -> None:
    examples = data(made(2000))
    cutoff = datetime(2024, 3, 1, 5, tzinfo=UTC)
    whole = training_rows(examples, LABEL, cutoff, 30)
    part = training_rows(examples, LABEL, cutoff, Sampled(rows=100, window=30))
    assert part.sum() == 100
    assert not (part & ~whole).any()
    assert (
        whole == known(examples.events, examples.known_at, LABEL, cutoff) & in_window(examples.events, LABEL, cutoff, 30)
    ).all()


def test_rows_kept_apart_are_in_no_sample() -> None:
    examples = data(made(2000))
    moments = [datetime(2024, month, day, 5, tzinfo=UTC) for month, day in ((2, 1), (2, 28))]
    block = Block(fold=0, cutoff=datetime(2024, 3, 10, 5, tzinfo=UTC), first=moments[1], last=moments[1], apart=((*moments,),))
    rows = training_rows(examples, LABEL, block.cutoff, Sampled(rows=200), block)
    assert rows.sum() == 200
    months = {moment.month for moment in examples.events[rows].tolist()}
    assert months == {1, 2, 3}
    assert {moment.day for moment in examples.events[rows].tolist() if moment.month == 2} <= {29}


def test_the_search_compares_a_sample_of_everything_with_a_short_window() -> None:
    """Before day 45 the kinds meant the opposite: a short window must win over any sample of all history."""
    rng = np.random.default_rng(0)
    old, new = (made(600, seed, days=45) for seed in (1, 2))
    frame = pl.concat(
        [old, new.with_columns((pl.col("event_timestamp", "label_known_at") + pl.duration(days=45)), pl.col("id") + 600)]
    )
    likely = (frame["kind"].fill_null("b") == "a").to_numpy() ^ (np.arange(1200) < 600)
    examples = data(frame.with_columns(label=pl.Series((rng.random(1200) < np.where(likely, 0.9, 0.1)).astype(np.int64))))
    blocks = plan_blocks(examples.events, Schedule(every="day", at="05:00"), HoldOut(days=5, folds=2), LABEL)
    windows = (20, Sampled(rows=300, window=20), Sampled(rows=300))
    declared = table(windows=windows, model=Model(rounds=10, depth=2, min_child_weight=1.0))
    found = search(Evaluator(data=examples, label=LABEL), declared, blocks[1:], lambda: 0.0)
    assert [score.train_rows for score in found.windows if score.window == Sampled(rows=300)] == [300, 300]
    assert found.window == 20  # the sample of 20 days holds them all, and what is whole goes before what is sampled


def test_a_sampled_window_says_what_it_is() -> None:
    assert str(Sampled(rows=20_000, window=120)) == "120 days, 20,000 rows"
    assert [show_window(window) for window in (30, "all", Sampled(rows=5))] == ["30 days", "all", "all, 5 rows"]


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"rows": True}, {"rows": 5, "window": 0}, {"rows": 5, "bucket": "year"}])
def test_a_sample_that_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DeclarationError, match="Sampled"):
        Sampled(**wrong)  # type: ignore[arg-type]
