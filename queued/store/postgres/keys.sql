-- The statements for keys, of which few jobs run at once; see queries.sql. A job with a key has a place of
-- it while it is ready or runs. When it is due, it joins the line of its key; a place is given only here,
-- to the first job of the line, and only while fewer jobs than the limit of this job have one, and its
-- rate allows one more start; see rates.sql. One dispatcher at a time gives places. Other transactions append
-- what they change meanwhile to changed_keys.

-- hold_keys --
-- Whether this transaction may give places; no other one may until its end. A statement of its own, so
-- that the next ones see what the last holder has committed.
SELECT pg_try_advisory_xact_lock('queued.changed_keys'::regclass::oid::integer, 0);

-- take_changed_keys --
-- Each key with the number of its changes, the last of them, and whether starts of it are remembered or to
-- come (`rated_keys`). Guard: hold_keys. By the primary keys.
WITH taken AS (
    DELETE FROM queued.changed_keys
    WHERE seq IN (SELECT seq FROM queued.changed_keys WHERE seq >= :first ORDER BY seq LIMIT :limit)
    RETURNING seq, key)
SELECT key, count(*), max(seq), EXISTS (SELECT FROM queued.rated_keys r WHERE r.key = taken.key)
FROM taken GROUP BY key;

-- first_in_line --
-- By jobs_key_lines.
SELECT w.seq, w.rank, w.next_run_at, w.key_limit, w.key_rate_starts, w.key_rate_ms, w.lane FROM queued.jobs w
WHERE w.key = k.key AND w.blocked = 4 ORDER BY w.rank, w.next_run_at, w.seq LIMIT 1

-- take_places_back --
-- Lets ready jobs wait in line again if the first job of the line comes before them; not those that are
-- claimed at this moment. By jobs_key_places.
WITH later AS MATERIALIZED (
    SELECT r.seq
    FROM unnest(:keys::text[]) AS k (key), LATERAL ({first_in_line}) AS first, queued.jobs r
    WHERE r.key = k.key AND (r.ready OR r.state = 'processing') AND r.ready
      AND (first.rank, first.next_run_at, first.seq) < (r.rank, r.next_run_at, r.seq)
    FOR NO KEY UPDATE OF r SKIP LOCKED)
UPDATE queued.jobs j SET ready = false, blocked = 4 FROM later WHERE j.seq = later.seq;

-- give_places --
-- Gives places to the first jobs of each line. Guard: hold_keys, fewer jobs than the limit of each of them
-- have one, and its rate allows the start; a job whose window is not that of the first one waits for the next
-- call. Returns whether they were given, not if a job is changed at this moment, and whether some have a
-- rate. By jobs_key_places, jobs_key_lines, and the primary keys; a plan that was made while the lines were
-- short would look for a job in jobs_key_lines, were it not for the sum.
WITH line AS MATERIALIZED (
    SELECT k.key, next.seq, next.key_rate_ms IS NOT NULL AS rated,
           bool_and(next.key_limit > used.n + next.place AND (next.key_rate_ms IS NULL
                    OR next.key_rate_ms IS NOT DISTINCT FROM w.key_rate_ms
                       AND next.key_rate_starts > started.n + used.rated + next.rated_before)) OVER (
               PARTITION BY k.key ORDER BY next.place) AS fits
    FROM unnest(:keys::text[]) AS k (key), LATERAL ({first_in_line}) AS w, LATERAL (
        SELECT count(*) AS n, count(*) FILTER (WHERE u.ready AND u.key_rate_ms IS NOT NULL) AS rated
        FROM queued.jobs u WHERE u.key = k.key AND (u.ready OR u.state = 'processing')
    ) AS used, LATERAL (
        SELECT CASE WHEN w.key_rate_ms IS NULL THEN 0 ELSE {started_in_window} END AS n
    ) AS started, LATERAL (
        SELECT l.seq, l.key_limit, l.key_rate_starts, l.key_rate_ms,
               row_number() OVER own - 1 AS place,
               count(l.key_rate_ms) OVER own - (l.key_rate_ms IS NOT NULL)::integer AS rated_before
        FROM queued.jobs l WHERE l.key = k.key AND l.blocked = 4
        WINDOW own AS (ORDER BY l.rank, l.next_run_at, l.seq ROWS UNBOUNDED PRECEDING)
        ORDER BY l.rank, l.next_run_at, l.seq
        LIMIT greatest(least(w.key_limit - used.n, w.key_rate_starts - started.n - used.rated), 0)) AS next
), unlocked AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE seq IN (SELECT seq FROM line WHERE fits) AND blocked + 0 = 4
    ORDER BY seq FOR NO KEY UPDATE SKIP LOCKED
), given AS (
    UPDATE queued.jobs j SET ready = true, blocked = 0 FROM unlocked WHERE j.seq = unlocked.seq
    RETURNING j.seq)
SELECT key, bool_and(found = 2), bool_or(rated) FROM (
    SELECT max(key) AS key, bool_or(rated) AS rated, count(*) AS found FROM (
        SELECT seq, key, rated FROM line WHERE fits UNION ALL SELECT seq, NULL, NULL FROM given) AS one
    GROUP BY seq) AS job
GROUP BY key;

-- keep_changed_keys --
INSERT INTO queued.changed_keys (key) SELECT unnest(:keys::text[]);

-- key_users --
-- Of each key: a job that is due or runs, and how many there are, up to a limit. By jobs_keyed.
SELECT key, id, n FROM queued.key_users(:keys::text[], :limits::integer[], :now);

-- key_places --
-- Jobs that have a place of a key, those that run first. By jobs_key_places.
SELECT id FROM queued.jobs WHERE key = :key AND (ready OR state = 'processing')
ORDER BY ready, seq LIMIT 3;
