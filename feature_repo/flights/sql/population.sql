-- The legs scheduled for the day.
SELECT carrier, flight, origin, dest
FROM schedule
WHERE event_timestamp = $as_of AND created_timestamp <= $as_of
