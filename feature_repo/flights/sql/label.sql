-- One example per flight: asked at four on its day, answered by the delivery that brought its outcome.
SELECT
    carrier, flight, origin, dest,
    as_of AS event_timestamp,
    late::INTEGER AS label,
    created_timestamp AS label_known_at
FROM outcomes
JOIN calendar ON calendar.day = flight_day
