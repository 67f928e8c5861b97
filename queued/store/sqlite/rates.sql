-- The statements for rates, of queues and keys whose jobs start only so often; see queries.sql. The row of a
-- claim has the number of all starts before it, so that a window is counted by one step into the primary
-- key at each of its ends, and one more step finds the start whose age decides when the next one is
-- allowed: `rate_starts` before the next one.
--
-- A queue has one rate, and a claim takes no more jobs of it than are allowed. The jobs of a key have rates of
-- their own: a place is given only while the starts in the window of the job and the ready jobs of the key
-- that have a rate are fewer than its rate allows. Each of these becomes one start, or goes back to the line.

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
LEFT JOIN starts last ON last.kind = 'queue' AND last.owner = q.name AND last.number = (
    SELECT max(s.number) FROM starts s WHERE s.kind = 'queue' AND s.owner = q.name)
LEFT JOIN starts first ON first.kind = 'queue' AND first.owner = q.name AND first.number = (
    SELECT s.number FROM starts s
    WHERE s.kind = 'queue' AND s.owner = q.name AND s.at > :now - q.rate_ms
    ORDER BY s.number LIMIT 1)
LEFT JOIN starts nth ON nth.kind = 'queue' AND nth.owner = q.name AND nth.number = (
    SELECT max(s.number) FROM starts s
    WHERE s.kind = 'queue' AND s.owner = q.name AND s.number <= last.number + last.n - q.rate_starts);

-- add_starts --
-- Of queues. Guard: the rate allowed them, in the same transaction. By the primary key.
INSERT INTO starts (kind, owner, number, n, at)
SELECT 'queue', one.key, coalesce(last.number + last.n, 0), one.value, max(:now, coalesce(last.at, :now))
FROM json_each(:started) AS one LEFT JOIN starts last ON last.kind = 'queue' AND last.owner = one.key
    AND last.number = (SELECT max(s.number) FROM starts s WHERE s.kind = 'queue' AND s.owner = one.key);

-- forget_starts --
-- Deletes the starts of queues that are out of the window. Guard: one is in it. By the primary key.
DELETE FROM starts WHERE (kind, owner, number) IN (
    SELECT s.kind, s.owner, s.number FROM json_each(:started) AS one CROSS JOIN queues q ON q.name = one.key
    CROSS JOIN starts s ON s.kind = 'queue' AND s.owner = q.name AND s.number < (
        SELECT f.number FROM starts f WHERE f.kind = 'queue' AND f.owner = q.name AND f.at > :now - q.rate_ms
        ORDER BY f.number LIMIT 1));

-- bring_back_starts --
-- Counts starts in the future as made now, so that a clock that was set back stops no queue for longer
-- than its window.
UPDATE starts SET at = :now
WHERE kind = 'queue' AND owner IN (SELECT value FROM json_each(:queues)) AND at > :now;

-- shift_starts --
-- Moves all starts after the wall clock was set.
UPDATE starts SET at = at + :shift;

-- shift_keys --
UPDATE rated_keys SET due = due + :shift;

-- remove_starts --
DELETE FROM starts WHERE kind = 'queue' AND owner = :queue;

-- add_key_starts --
-- Counts the starts of claimed jobs that have a rate. Guard: they had places. By the primary keys.
INSERT INTO starts (kind, owner, number, n, at)
SELECT 'key', own.key, coalesce(last.number + last.n, 0), own.n, max(:now, coalesce(last.at, :now))
FROM (SELECT j.key, count(*) AS n FROM json_each(:jobs) AS one JOIN jobs j ON j.seq = one.value
      GROUP BY j.key) AS own
LEFT JOIN starts last ON last.kind = 'key' AND last.owner = own.key AND last.number = (
    SELECT max(s.number) FROM starts s WHERE s.kind = 'key' AND s.owner = own.key AND s.number >= 0);

-- note_key_starts --
-- The due times of the keys of these jobs must be computed anew.
INSERT INTO changed_keys (key)
SELECT DISTINCT j.key FROM json_each(:jobs) AS one JOIN jobs j ON j.seq = one.value WHERE true
ON CONFLICT DO NOTHING;

-- next_key_due --
-- The first due time of a key with a rate, and the last moment at which one was set. One step into
-- rated_keys_due and rated_keys_set.
SELECT (SELECT min(due) FROM rated_keys WHERE due IS NOT NULL),
       (SELECT max(due - window_ms) FROM rated_keys WHERE due IS NOT NULL);

-- note_due_keys --
-- Marks the keys that are due as changed, and those of which a start lies in the future, because the
-- clock was set back. By rated_keys_due and rated_keys_set.
INSERT INTO changed_keys (key)
SELECT key FROM (
    SELECT key FROM rated_keys WHERE due IS NOT NULL AND due <= :now
    UNION ALL
    SELECT key FROM rated_keys WHERE due IS NOT NULL AND due - window_ms > :now
    LIMIT :limit) WHERE true
ON CONFLICT DO NOTHING;

-- bring_back_key_starts --
-- As bring_back_starts, of changed keys. By the primary keys.
UPDATE starts SET at = :now
WHERE kind = 'key' AND at > :now AND owner IN (
    SELECT k.key FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value
    WHERE (SELECT s.at FROM starts s WHERE s.kind = 'key' AND s.owner = k.key
           ORDER BY s.number DESC LIMIT 1) > :now);

-- unnumbered_starts --
-- The starts of changed keys that the copy of another database has without a number, each with the number
-- and the time that it gets. By the primary keys.
SELECT k.id, s.number, coalesce(last.number + last.n, 0) + sum(s.n) OVER own - s.n,
       max(coalesce(last.at, s.at), max(s.at) OVER own)
FROM json_each(:keys) AS one CROSS JOIN changed_keys k ON k.id = one.value
CROSS JOIN starts s ON s.kind = 'key' AND s.owner = k.key AND s.number < 0
LEFT JOIN starts last ON last.kind = 'key' AND last.owner = k.key AND last.number = (
    SELECT max(m.number) FROM starts m WHERE m.kind = 'key' AND m.owner = k.key AND m.number >= 0)
WINDOW own AS (PARTITION BY s.owner ORDER BY s.at, s.number DESC ROWS UNBOUNDED PRECEDING);

-- number_start --
-- By the primary keys.
UPDATE starts SET number = :number, at = :at
WHERE kind = 'key' AND owner = (SELECT key FROM changed_keys WHERE id = :key) AND number = :old;

-- started_in_window --
-- How many starts of the key k are in the window of the job w. One step into the primary key for each of
-- its ends.
coalesce((SELECT s.number + s.n FROM starts s WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0
          ORDER BY s.number DESC LIMIT 1)
         - (SELECT s.number FROM starts s WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0
              AND s.at > :now - w.key_rate_ms ORDER BY s.number LIMIT 1), 0)

-- ready_with_rate --
-- How many ready jobs of the key k have a rate. By jobs_key_places.
(SELECT count(*) FROM jobs u WHERE u.key = k.key AND (u.ready = 1 OR u.state = 'processing')
   AND u.ready = 1 AND u.key_rate_ms IS NOT NULL)

-- rate_keys --
-- Lets the starts of changed keys be remembered as long as the longest window of their jobs that have a
-- place, and of the first one in line. By jobs_key_places and jobs_key_lines.
INSERT INTO rated_keys (key, window_ms, due)
SELECT key, longest, 0 FROM (
    SELECT k.key, max(
        coalesce((SELECT max(u.key_rate_ms) FROM jobs u
                  WHERE u.key = k.key AND (u.ready = 1 OR u.state = 'processing')), 0),
        coalesce((SELECT w.key_rate_ms FROM jobs w WHERE w.seq = ({first_in_line})), 0)) AS longest
    FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value) WHERE longest > 0
ON CONFLICT DO UPDATE SET window_ms = max(window_ms, excluded.window_ms);

-- forget_key_starts --
-- Deletes the starts of changed keys that are out of the longest window. By the primary keys.
DELETE FROM starts WHERE (kind, owner, number) IN (
    SELECT s.kind, s.owner, s.number
    FROM json_each(:keys) AS one CROSS JOIN changed_keys k ON k.id = one.value
    CROSS JOIN rated_keys r ON r.key = k.key
    CROSS JOIN starts s ON s.kind = 'key' AND s.owner = k.key AND s.number >= 0 AND s.number < coalesce(
        (SELECT f.number FROM starts f WHERE f.kind = 'key' AND f.owner = k.key AND f.number >= 0
           AND f.at > :now - r.window_ms ORDER BY f.number LIMIT 1), 9223372036854775807));

-- schedule_keys --
-- Sets when each changed key is due: when the first job of its line is allowed by its rate, or all starts
-- are forgotten. If so many jobs with a rate are ready as the job allows, it waits for them. By the primary
-- keys, jobs_key_lines and jobs_key_places.
UPDATE rated_keys SET due = coalesce(min(new.next_at, new.last_at + window_ms), new.last_at + window_ms),
                      lane = iif(new.next_at IS NULL, NULL, new.lane)
FROM (SELECT k.key, last.at AS last_at, nth.at + w.key_rate_ms AS next_at, w.lane
      FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value
      LEFT JOIN starts last ON last.kind = 'key' AND last.owner = k.key AND last.number = (
          SELECT max(s.number) FROM starts s WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0)
      LEFT JOIN jobs w ON w.seq = ({first_in_line})
      LEFT JOIN starts nth ON nth.kind = 'key' AND nth.owner = k.key AND nth.at > :now - w.key_rate_ms
          AND w.key_rate_starts > {ready_with_rate} AND nth.number = (
              SELECT max(s.number) FROM starts s WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0
              AND s.number <= last.number + last.n - w.key_rate_starts + {ready_with_rate})) AS new
WHERE rated_keys.key = new.key;

-- forget_rated_keys --
-- Guard: nothing is left of their starts, and no job with a rate is ready. By the primary keys and
-- jobs_key_places.
DELETE FROM rated_keys WHERE key IN (
    SELECT k.key FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value
    WHERE NOT EXISTS (SELECT 1 FROM starts s WHERE s.kind = 'key' AND s.owner = k.key)
      AND {ready_with_rate} = 0);

-- rate_waits --
-- Whether a job of one of some lanes waits for the rate of its key. One step into rated_keys_lanes for
-- each lane.
SELECT EXISTS (SELECT 1 FROM json_each(:lanes) AS one JOIN rated_keys r ON r.lane = one.value);

-- key_window --
-- Of the first job in the line of a key, if it waits for its rate: that, and when it is due.
SELECT w.key_rate_starts, w.key_rate_ms, r.due
FROM rated_keys r JOIN jobs w ON w.seq = (
    SELECT f.seq FROM jobs f WHERE f.key = r.key AND f.blocked = 4
    ORDER BY f.priority DESC, f.next_run_at, f.seq LIMIT 1)
WHERE r.key = :key AND r.lane IS NOT NULL AND w.key_rate_ms IS NOT NULL;

-- check_starts --
-- Starts of which the row says another number than those before it.
SELECT kind, owner, number, expected FROM (
    SELECT kind, owner, number, lag(number + n) OVER (PARTITION BY kind, owner ORDER BY number) AS expected
    FROM starts WHERE number >= 0)
WHERE number <> expected;

-- check_rated_keys --
-- Keys whose starts no dispatcher would ever forget.
SELECT DISTINCT s.owner FROM starts s
WHERE s.kind = 'key' AND s.owner NOT IN (SELECT key FROM rated_keys WHERE due IS NOT NULL)
  AND s.owner NOT IN (SELECT key FROM changed_keys);
