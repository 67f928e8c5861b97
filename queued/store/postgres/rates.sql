-- The statements for rates, of queues and keys whose jobs start only so often; see queries.sql. The row of a
-- claim has the number of all starts before it, so that a window is counted by one step into the primary
-- key at each of its ends, and one more step finds the start whose age decides when the next one is
-- allowed: `rate_starts` before the next one. The clock is that of this server, and not what hosts know of
-- it, which may differ by milliseconds. Starts are judged by the beginning of the transaction, so that all
-- statements of a turn agree, and recorded with the time of the statement, which is never earlier.
--
-- A queue has one rate, and a claim takes no more jobs of it than are allowed. The jobs of a key have rates of
-- their own: a place is given only while the starts in the window of the job and the ready jobs of the key
-- that have a rate are fewer than its rate allows. Each of these becomes one start, or goes back to the line.
-- A claim locks nothing of a key: it adds its starts with negative numbers, and the dispatcher that gives
-- places numbers them.

-- turn_ms --
(extract(epoch FROM transaction_timestamp()) * 1000)::bigint

-- clock_ms --
(extract(epoch FROM clock_timestamp()) * 1000)::bigint

-- start_windows --
-- Of queues with a rate: how many starts it allows now, and when the next one if none; whether a job is ready
-- then; and whether a start lies in the future, because the clock was set back. By the primary keys, and one
-- step into jobs_ready for each lane.
SELECT q.name, greatest(q.rate_starts - coalesce(last.total - first.number, 0), 0),
       CASE WHEN nth.at > {turn_ms} - q.rate_ms THEN nth.at + q.rate_ms END,
       coalesce(nth.at > {turn_ms} - q.rate_ms AND EXISTS (
           SELECT FROM queued.lanes l, LATERAL (
               SELECT FROM queued.jobs j WHERE ready AND j.lane = l.id LIMIT 1) AS job
           WHERE l.queue = q.name), false),
       coalesce(last.at > {clock_ms}, false)
FROM queued.queues q
LEFT JOIN LATERAL (SELECT number + n AS total, at FROM queued.starts s
                   WHERE s.kind = 'queue' AND s.owner = q.name
                   ORDER BY number DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (SELECT number FROM queued.starts s
                   WHERE s.kind = 'queue' AND s.owner = q.name AND s.at > {turn_ms} - q.rate_ms
                   ORDER BY number LIMIT 1) AS first ON true
LEFT JOIN LATERAL (SELECT at FROM queued.starts s
                   WHERE s.kind = 'queue' AND s.owner = q.name AND s.number <= last.total - q.rate_starts
                   ORDER BY number DESC LIMIT 1) AS nth ON true
WHERE q.name IN (SELECT json_array_elements_text(:queues::json)) AND q.rate_starts IS NOT NULL;

-- add_starts --
-- Of queues. Guard: the rate allowed them, and the row of the queue is locked since then. By the primary
-- key.
INSERT INTO queued.starts (kind, owner, number, n, at)
SELECT 'queue', one.key, coalesce(last.total, 0), one.value::integer, greatest({clock_ms}, last.at)
FROM json_each_text(:started::json) AS one
LEFT JOIN LATERAL (SELECT number + n AS total, at FROM queued.starts s
                   WHERE s.kind = 'queue' AND s.owner = one.key
                   ORDER BY number DESC LIMIT 1) AS last ON true;

-- forget_starts --
-- Deletes the starts of queues that are out of the window. Guard: one is in it. By the primary key.
DELETE FROM queued.starts WHERE (kind, owner, number) IN (
    SELECT s.kind, s.owner, s.number FROM queued.queues q, LATERAL (
        SELECT f.number FROM queued.starts f
        WHERE f.kind = 'queue' AND f.owner = q.name AND f.at > {turn_ms} - q.rate_ms
        ORDER BY f.number LIMIT 1) AS first, queued.starts s
    WHERE q.name IN (SELECT key FROM json_each_text(:started::json))
      AND s.kind = 'queue' AND s.owner = q.name AND s.number < first.number);

-- bring_back_starts --
-- Counts starts in the future as made now, so that a clock that was set back stops no queue for longer
-- than its window. All get one time, because rows may be changed in any order.
WITH clock AS MATERIALIZED (SELECT {clock_ms} AS now)
UPDATE queued.starts SET at = now FROM clock
WHERE kind = 'queue' AND owner IN (SELECT json_array_elements_text(:queues::json)) AND at > now;

-- remove_starts --
DELETE FROM queued.starts WHERE kind = 'queue' AND owner = :queue;

-- take_due_keys --
-- Keys that are due, and those of which a start lies in the future, because the clock was set back. Guard:
-- hold_keys. By rated_keys_due and rated_keys_set.
WITH found AS MATERIALIZED (
    (SELECT key FROM queued.rated_keys WHERE due <= {turn_ms} ORDER BY due LIMIT :limit)
    UNION
    (SELECT key FROM queued.rated_keys WHERE due - window_ms > (SELECT {clock_ms})
     ORDER BY due - window_ms DESC LIMIT :limit))
UPDATE queued.rated_keys r SET due = NULL FROM found WHERE r.key = found.key RETURNING r.key;

-- next_key_due --
-- One step into rated_keys_due.
SELECT min(due) FROM queued.rated_keys;

-- bring_back_key_starts --
-- As bring_back_starts, of keys. Guard: hold_keys. By the primary key.
WITH clock AS MATERIALIZED (SELECT {clock_ms} AS now), ahead AS MATERIALIZED (
    SELECT k.key FROM clock, unnest(:keys::text[]) AS k (key), LATERAL (
        SELECT s.at FROM queued.starts s WHERE s.kind = 'key' AND s.owner = k.key
        ORDER BY s.number DESC LIMIT 1) AS last
    WHERE last.at > clock.now)
UPDATE queued.starts SET at = now FROM clock
WHERE kind = 'key' AND owner IN (SELECT key FROM ahead) AND at > now;

-- number_starts --
-- Numbers the starts of keys that claims have added. Guard: hold_keys. By the primary key.
WITH new AS MATERIALIZED (
    SELECT s.owner, s.number AS old, coalesce(last.total, 0) + sum(s.n) OVER own - s.n AS number,
           greatest(last.at, max(s.at) OVER own) AS at
    FROM unnest(:keys::text[]) AS k (key)
    JOIN queued.starts s ON s.kind = 'key' AND s.owner = k.key AND s.number < 0
    LEFT JOIN LATERAL (SELECT l.number + l.n AS total, l.at FROM queued.starts l
                       WHERE l.kind = 'key' AND l.owner = k.key AND l.number >= 0
                       ORDER BY l.number DESC LIMIT 1) AS last ON true
    WINDOW own AS (PARTITION BY s.owner ORDER BY s.at, s.number DESC ROWS UNBOUNDED PRECEDING))
UPDATE queued.starts s SET number = new.number, at = new.at FROM new
WHERE s.kind = 'key' AND s.owner = new.owner AND s.number = new.old;

-- started_in_window --
-- How many starts of the key k are in the window of the job w; those without a number are. One step into
-- the primary key for each end of the window.
coalesce((SELECT s.number + s.n FROM queued.starts s
          WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0 ORDER BY s.number DESC LIMIT 1)
         - (SELECT s.number FROM queued.starts s
            WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0 AND s.at > {turn_ms} - w.key_rate_ms
            ORDER BY s.number LIMIT 1), 0)
    + (SELECT coalesce(sum(s.n), 0) FROM queued.starts s
       WHERE s.kind = 'key' AND s.owner = k.key AND s.number < 0)

-- rate_keys --
-- Lets the starts of keys be remembered as long as the longest window of their jobs that have a place, and
-- of the first one in line. Guard: hold_keys. By jobs_key_places and jobs_key_lines.
INSERT INTO queued.rated_keys AS r (key, window_ms, due)
SELECT k.key, greatest(places.longest, first.key_rate_ms), 0
FROM unnest(:keys::text[]) AS k (key)
CROSS JOIN LATERAL (SELECT max(u.key_rate_ms) AS longest FROM queued.jobs u
                    WHERE u.key = k.key AND (u.ready OR u.state = 'processing')) AS places
LEFT JOIN LATERAL ({first_in_line}) AS first ON true
WHERE greatest(places.longest, first.key_rate_ms) IS NOT NULL
ON CONFLICT (key) DO UPDATE SET window_ms = greatest(r.window_ms, excluded.window_ms);

-- forget_key_starts --
-- Deletes the starts of keys that are out of the longest window. Guard: hold_keys. By the primary keys.
DELETE FROM queued.starts WHERE (kind, owner, number) IN (
    SELECT s.kind, s.owner, s.number
    FROM unnest(:keys::text[]) AS k (key) JOIN queued.rated_keys r ON r.key = k.key
    LEFT JOIN LATERAL (SELECT f.number FROM queued.starts f
                       WHERE f.kind = 'key' AND f.owner = k.key AND f.number >= 0
                         AND f.at > {turn_ms} - r.window_ms
                       ORDER BY f.number LIMIT 1) AS first ON true,
    LATERAL (SELECT l.kind, l.owner, l.number FROM queued.starts l
             WHERE l.kind = 'key' AND l.owner = k.key AND l.number >= 0
               AND l.number < coalesce(first.number, 9223372036854775807)) AS s);

-- schedule_keys --
-- Sets when each key is due: when the first job of its line is allowed by its rate, or all starts are
-- forgotten. If so many jobs with a rate are ready as the job allows, it waits for them. Guard: hold_keys. By
-- the primary keys, jobs_key_lines and jobs_key_places.
WITH new AS MATERIALIZED (
    SELECT k.key, last.at AS last_at, nth.at + w.key_rate_ms AS next_at, w.lane
    FROM unnest(:keys::text[]) AS k (key)
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM queued.jobs u
                        WHERE u.key = k.key AND (u.ready OR u.state = 'processing')
                          AND u.ready AND u.key_rate_ms IS NOT NULL) AS waiting
    LEFT JOIN LATERAL (SELECT s.number + s.n AS total, s.at FROM queued.starts s
                       WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0
                       ORDER BY s.number DESC LIMIT 1) AS last ON true
    LEFT JOIN LATERAL ({first_in_line}) AS w ON true
    LEFT JOIN LATERAL (SELECT one.at FROM (
                           SELECT s.at FROM queued.starts s
                           WHERE s.kind = 'key' AND s.owner = k.key AND s.number >= 0
                             AND s.number <= last.total - w.key_rate_starts + waiting.n
                           ORDER BY s.number DESC LIMIT 1) AS one
                       WHERE w.key_rate_starts > waiting.n AND one.at > {turn_ms} - w.key_rate_ms) AS nth
        ON true)
UPDATE queued.rated_keys r SET due = least(new.next_at, new.last_at + r.window_ms),
                               lane = CASE WHEN new.next_at IS NOT NULL THEN new.lane END
FROM new WHERE r.key = new.key;

-- forget_rated_keys --
-- Guard: hold_keys, nothing is left of their starts, and no job with a rate is ready. By the primary keys
-- and jobs_key_places.
DELETE FROM queued.rated_keys r WHERE r.key = ANY(:keys::text[])
    AND NOT EXISTS (SELECT FROM queued.starts s WHERE s.kind = 'key' AND s.owner = r.key)
    AND NOT EXISTS (SELECT FROM queued.jobs u WHERE u.key = r.key AND (u.ready OR u.state = 'processing')
                    AND u.ready AND u.key_rate_ms IS NOT NULL);

-- rate_waits --
-- Whether a job of one of some lanes waits for the rate of its key. One step into rated_keys_lanes for
-- each lane.
SELECT EXISTS (SELECT FROM unnest(:lanes::integer[]) AS one (lane),
               LATERAL (SELECT FROM queued.rated_keys r WHERE r.lane = one.lane LIMIT 1) AS found);

-- key_window --
-- Of the first job in the line of a key, if it waits for its rate: that, and when it is due. By the primary
-- key and jobs_key_lines; with `lane IS NOT NULL`, a plan might go through rated_keys_lanes instead.
SELECT w.key_rate_starts, w.key_rate_ms, k.due FROM queued.rated_keys k, LATERAL ({first_in_line}) AS w
WHERE k.key = :key AND coalesce(k.lane, -1) >= 0 AND w.key_rate_ms IS NOT NULL;

-- check_starts --
-- Starts of which the row says another number than those before it.
SELECT kind, owner, number, expected FROM (
    SELECT kind, owner, number, lag(number + n) OVER (PARTITION BY kind, owner ORDER BY number) AS expected
    FROM queued.starts WHERE number >= 0) AS row
WHERE number <> expected;

-- check_rated_keys --
-- Keys whose starts no dispatcher would ever forget.
SELECT DISTINCT s.owner FROM queued.starts s
WHERE s.kind = 'key' AND NOT EXISTS (SELECT FROM queued.rated_keys r WHERE r.key = s.owner AND due IS NOT NULL)
  AND NOT EXISTS (SELECT FROM queued.changed_keys c WHERE c.key = s.owner);
