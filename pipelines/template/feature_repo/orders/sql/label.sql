-- Who ordered again in the seven days from a morning on, asked once those days are over and delivered.
SELECT
    activity.customer,
    activity.event_timestamp,
    (count(orders.order_id) > 0)::INTEGER AS label,
    activity.event_timestamp + INTERVAL 167 HOUR AS label_known_at
FROM activity
LEFT JOIN orders
    ON orders.customer = activity.customer
    AND orders.ordered_on BETWEEN activity.event_timestamp::DATE AND activity.event_timestamp::DATE + 6
WHERE activity.event_timestamp::DATE + 6 <= (SELECT max(ordered_on) FROM orders)
GROUP BY ALL
