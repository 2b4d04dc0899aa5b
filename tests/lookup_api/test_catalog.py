"""What is published: tables, one table, its versions; and the next version to expect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.drafts import FAILED
from support.serving import Server, serving
from support.stores import build, build_and_publish, new_store, roll_back

from batch_scoring.declare import Schedule
from lookup_api.catalog import next_expected


def test_the_list_names_every_table_with_keys_and_what_is_live(server: Server) -> None:
    listed = server.get("/v1/tables").json()
    flights, notes = listed["tables"]
    assert (flights["name"], notes["name"]) == ("flight_delays", "notes")
    assert flights["description"] == "Will the leg arrive late?"
    assert [(key["name"], key["type"]) for key in flights["keys"]] == [("carrier", "string"), ("flight", "integer")]
    assert (flights["live"], flights["rows"], flights["as_of"]) == (2, 20, "2013-03-03T09:00:00Z")
    assert flights["next_expected"] == "2013-03-04T09:00:00Z"
    assert server.get(flights["urls"]["prediction"].format(carrier="UA", flight=1000)).status == 200


def test_a_table_tells_its_columns_gates_schedule_live_and_shadow(server: Server) -> None:
    detail = server.get("/v1/tables/flight_delays").json()
    assert detail["entity"] == "a scheduled leg"
    assert [column["name"] for column in detail["columns"]][:3] == ["carrier", "flight", "score"]
    assert all(column["description"] for column in detail["columns"])
    assert (detail["live"]["version"], detail["shadow"]["version"]) == (2, 3)
    assert detail["gates"] == [
        {
            "gate": "beats_baseline",
            "passed": True,
            "observed": 0.02,
            "limit": 0.0,
            "message": "a gain of 0.02.",
            "verdict": "pass",
            "waived": "",
        }
    ]
    assert detail["schedule"] == {"every": "day", "at": "04:00", "timezone": "America/New_York", "weekday": None}


def test_versions_come_newest_first_with_their_hold_out_scores(server: Server) -> None:
    listed = server.get("/v1/tables/flight_delays/versions").json()
    assert [version["version"] for version in listed["versions"]] == [3, 2, 1]
    assert [(version["live"], version["shadow"]) for version in listed["versions"]] == [
        (False, True),
        (True, False),
        (False, False),
    ]
    newest = listed["versions"][0]
    assert newest["window"] == 30
    assert [(score["who"], score["loss"], score["auc"]) for score in newest["holdout"]] == [
        ("contender", 0.5, 0.66),
        ("baseline", 0.53, None),
    ]


def test_a_failed_version_is_listed_and_a_rolled_back_one_is_barred(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    for day in (1, 2):
        build_and_publish(store, day)
    with serving(tmp_path) as server:
        before = server.get("/v1/tables/flight_delays/versions")
        build(store, 3, gates=(FAILED,))
        after = server.get("/v1/tables/flight_delays/versions", if_none_match=before.headers["etag"])
        assert after.status == 200, "a list that has changed is not 304, though no release has been made"
        assert [version["passed"] for version in after.json()["versions"]] == [False, True, True]
        roll_back(store)
        barred = {
            version["version"]: version["barred"]
            for version in server.get("/v1/tables/flight_delays/versions").json()["versions"]
        }
        assert barred == {3: False, 2: True, 1: False}


MOMENTS = st.datetimes(min_value=datetime(2012, 1, 1), max_value=datetime(2032, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
SCHEDULES = st.builds(
    Schedule,
    every=st.sampled_from(["day", "week"]),
    at=st.sampled_from(["00:00", "02:30", "04:00", "23:59"]),
    timezone=st.sampled_from(["UTC", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Australia/Lord_Howe"]),
    weekday=st.sampled_from(["monday", "thursday", "sunday"]),
)


@given(schedule=SCHEDULES, as_of=MOMENTS)
def test_the_next_version_is_expected_at_the_first_scheduled_moment_after(schedule: Schedule, as_of: datetime) -> None:
    day = as_of.date()
    around = schedule.days(day - timedelta(days=3), day + timedelta(days=12))
    expected = min(moment for moment in map(schedule.as_of, around) if moment > as_of)
    assert next_expected(schedule, as_of) == expected


def test_nothing_is_expected_after_a_schedule_has_ended() -> None:
    ended = Schedule(every="day", at="04:00", since=datetime(2013, 1, 1).date(), until=datetime(2013, 12, 31).date())
    assert next_expected(ended, datetime(2013, 12, 30, 4, tzinfo=UTC)) == datetime(2013, 12, 31, 4, tzinfo=UTC)
    assert next_expected(ended, datetime(2013, 12, 31, 4, tzinfo=UTC)) is None
