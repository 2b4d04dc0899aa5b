-- What became of each flight, and when that was known here.
--
-- An outcome is final
--   arrived    when the aircraft is at the gate: that is the first time after departure + delay + time in the air at which
--              the destination's clock shows `arr_time` (what lies between is taxiing, which never takes a day; where the
--              clocks change meanwhile, the minutes that pass are not the minutes between the two readings).
--              Four destinations are not in the file of airports; they are in Puerto Rico and the Virgin Islands.
--   cancelled  four hours after the scheduled departure.
--   diverted   twelve hours after it left the gate.
-- Final outcomes are delivered at 03:00 every night, New York time. So the row of a flight that is still in the air at
-- 03:00 comes a day later than its neighbours', and nothing built at 04:00 may know it.
WITH flown AS (
    SELECT
        *,
        make_date(year, month, day) AS flight_day,
        time_hour + to_minutes(minute) AS departs_at,
        departs_at + to_minutes(coalesce(dep_delay, 0) + coalesce(air_time, 0)) AS airborne_until,
        coalesce(airports.tzone, 'America/Puerto_Rico') AS dest_zone,
        dep_time IS NULL AS cancelled,
        dep_time IS NOT NULL AND arr_delay IS NULL AS diverted
    FROM raw.flights AS flights
    LEFT JOIN raw.airports AS airports ON airports.faa = flights.dest
), final AS (
    SELECT
        *,
        airborne_until AT TIME ZONE dest_zone AS clock,
        (arr_time // 100 * 60 + arr_time % 100 - hour(clock) * 60 - minute(clock) + 1440) % 1440 AS minutes_shown,
        date_diff('minute', clock, (airborne_until + to_minutes(minutes_shown)) AT TIME ZONE dest_zone) - minutes_shown AS clock_change,
        CASE
            WHEN cancelled THEN departs_at + INTERVAL 4 HOUR
            WHEN diverted THEN airborne_until + INTERVAL 12 HOUR
            ELSE airborne_until + to_minutes((minutes_shown - clock_change + 1440) % 1440)
        END AS final_at
    FROM flown
), delivered AS (
    SELECT *, (final_at AT TIME ZONE 'America/New_York' - INTERVAL 3 HOUR)::DATE + 1 AS delivered_on FROM final
)
SELECT
    carrier, flight, origin, dest,
    final_at AS event_timestamp,
    (delivered_on + INTERVAL 3 HOUR) AT TIME ZONE 'America/New_York' AS created_timestamp,
    flight_day,
    delivered_on,
    cancelled,
    diverted,
    arr_delay AS arrival_delay,
    coalesce(arr_delay > 15, true) AS late,
    planes.seats AS plane_seats,
    year(flight_day) - planes.year AS plane_age
FROM delivered
LEFT JOIN raw.planes AS planes USING (tailnum)
