-- Everybody who has ordered before, on a day that the book reaches.
SELECT customer FROM activity WHERE event_timestamp = $as_of
