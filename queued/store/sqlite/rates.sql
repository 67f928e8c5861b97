-- The statements for rates, of queues that start only so many jobs in a time; see queries.sql. The row of a
-- claim has the number of all starts before it, so that a window is counted by one step into the primary
-- key at each of its ends, and one more step finds the start whose age decides when the next one is
-- allowed: `rate_starts` before the next one.

-- start_windows --
-- Of queues with a rate: how many starts it allows now, and when the next one if none; whether a job is ready
-- then; and whether a start lies in the future, because the clock was set back. By the primary keys, and one
-- step into jobs_ready for each lane.
SELECT CAST(q.name AS BLOB), max(q.rate_starts - coalesce(last.number + last.n - first.number, 0), 0),
       iif(nth.at > :now - q.rate_ms, nth.at + q.rate_ms, NULL),
       nth.at > :now - q.rate_ms AND EXISTS (
           SELECT 1 FROM lanes l WHERE l.queue = q.name
           AND EXISTS (SELECT 1 FROM jobs j WHERE j.ready = 1 AND j.lane = l.id)),
       last.at > :now
FROM json_each(:queues) AS one JOIN queues q ON q.name = one.value AND q.rate_starts IS NOT NULL
LEFT JOIN starts last ON last.queue = q.name
    AND last.number = (SELECT max(s.number) FROM starts s WHERE s.queue = q.name)
LEFT JOIN starts first ON first.queue = q.name AND first.number = (
    SELECT s.number FROM starts s WHERE s.queue = q.name AND s.at > :now - q.rate_ms
    ORDER BY s.number LIMIT 1)
LEFT JOIN starts nth ON nth.queue = q.name AND nth.number = (
    SELECT max(s.number) FROM starts s
    WHERE s.queue = q.name AND s.number <= last.number + last.n - q.rate_starts);

-- add_starts --
-- Guard: the rate allowed them, in the same transaction. By the primary key.
INSERT INTO starts (queue, number, n, at)
SELECT one.key, coalesce(last.number + last.n, 0), one.value, max(:now, coalesce(last.at, :now))
FROM json_each(:started) AS one LEFT JOIN starts last ON last.queue = one.key
    AND last.number = (SELECT max(s.number) FROM starts s WHERE s.queue = one.key);

-- forget_starts --
-- Deletes the starts that are out of the window. Guard: one is in it. By the primary key.
DELETE FROM starts WHERE (queue, number) IN (
    SELECT s.queue, s.number FROM json_each(:started) AS one JOIN queues q ON q.name = one.key
    JOIN starts s ON s.queue = q.name AND s.number < (
        SELECT f.number FROM starts f WHERE f.queue = q.name AND f.at > :now - q.rate_ms
        ORDER BY f.number LIMIT 1));

-- bring_back_starts --
-- Counts starts in the future as made now, so that a clock that was set back stops no queue for longer
-- than its window.
UPDATE starts SET at = :now WHERE queue IN (SELECT value FROM json_each(:queues)) AND at > :now;

-- shift_starts --
-- Moves all starts after the wall clock was set.
UPDATE starts SET at = at + :shift;

-- remove_starts --
DELETE FROM starts WHERE queue = :queue;

-- check_starts --
-- Starts of which the row says another number than those before it.
SELECT queue, number, expected FROM (
    SELECT queue, number, lag(number + n) OVER (PARTITION BY queue ORDER BY number) AS expected FROM starts)
WHERE number <> expected;
