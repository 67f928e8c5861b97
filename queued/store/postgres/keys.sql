-- The statements for keys, of which few jobs run at once; see queries.sql. A job with a key has a place of
-- it while it is ready or runs. When it is due, it joins the line of its key; a place is given only here,
-- to the first job of the line, and only while fewer jobs than the limit of this job have one. One
-- dispatcher at a time gives places; what other transactions change meanwhile they append to changed_keys.

-- hold_keys --
-- Whether this transaction may give places; no other one may until its end. A statement of its own, so
-- that the next ones see what the last holder has committed.
SELECT pg_try_advisory_xact_lock('queued.changed_keys'::regclass::oid::integer, 0);

-- take_changed_keys --
-- Guard: hold_keys. By the primary key.
WITH taken AS (
    DELETE FROM queued.changed_keys
    WHERE seq IN (SELECT seq FROM queued.changed_keys ORDER BY seq LIMIT :limit)
    RETURNING key)
SELECT DISTINCT key FROM taken;

-- first_in_line --
-- By jobs_key_lines.
SELECT w.seq, w.rank, w.next_run_at, w.key_limit FROM queued.jobs w
WHERE w.key = k.key AND w.blocked = 4 ORDER BY w.rank, w.next_run_at, w.seq LIMIT 1

-- take_places_back --
-- Lets ready jobs wait in line again if the first job of the line comes before them; not those that are
-- claimed at this moment. By jobs_key_places.
WITH later AS MATERIALIZED (
    SELECT r.seq
    FROM unnest(:keys::text[]) AS k (key), LATERAL ({first_in_line}) AS first, queued.jobs r
    WHERE r.key = k.key AND (r.ready OR r.state = 'processing') AND r.ready
      AND (first.rank, first.next_run_at, first.seq) < (r.rank, r.next_run_at, r.seq)
    FOR UPDATE OF r SKIP LOCKED)
UPDATE queued.jobs j SET ready = false, blocked = 4 FROM later WHERE j.seq = later.seq;

-- give_places --
-- Gives a place to the first job of each line. Guard: hold_keys, and fewer jobs than its limit have one.
-- Returns whether it was given: not if the job is changed at this moment. By jobs_key_places.
WITH first AS MATERIALIZED (
    SELECT k.key, first.seq
    FROM unnest(:keys::text[]) AS k (key), LATERAL ({first_in_line}) AS first
    WHERE key_limit > (SELECT count(*) FROM queued.jobs u
                       WHERE u.key = k.key AND (u.ready OR u.state = 'processing'))
), unlocked AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE seq IN (SELECT seq FROM first) AND blocked = 4
    FOR UPDATE SKIP LOCKED
), given AS (
    UPDATE queued.jobs j SET ready = true, blocked = 0 FROM unlocked WHERE j.seq = unlocked.seq
    RETURNING j.seq)
SELECT key, given.seq IS NOT NULL FROM first LEFT JOIN given USING (seq);

-- keep_changed_keys --
INSERT INTO queued.changed_keys (key) SELECT unnest(:keys::text[]);

-- key_users --
-- Of each key: a job that is due or runs, and how many there are, up to a limit. By jobs_keyed.
SELECT key, id, n FROM queued.key_users(:keys::text[], :limits::integer[], :now);

-- key_places --
-- Jobs that have a place of a key, those that run first. By jobs_key_places.
SELECT id FROM queued.jobs WHERE key = :key AND (ready OR state = 'processing')
ORDER BY ready, seq LIMIT 3;
