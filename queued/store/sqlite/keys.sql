-- The statements for keys, of which few jobs run at once; see queries.sql. A job with a key has a place of
-- it while it is ready or runs. When it is due, it joins the line of its key; a place is given only here,
-- to the first job of the line, and only while fewer jobs than the limit of this job have one, and its
-- rate allows one more start; see rates.sql.

-- changed_keys --
-- The keys whose places and lines have changed, and whether they have rates. By the primary keys.
SELECT id, EXISTS (SELECT 1 FROM rated_keys r WHERE r.key = k.key) FROM changed_keys k
ORDER BY id LIMIT :limit;

-- first_in_line --
-- By jobs_key_lines.
SELECT f.seq FROM jobs f WHERE f.key = k.key AND f.blocked = 4
ORDER BY f.priority DESC, f.next_run_at, f.seq LIMIT 1

-- take_places_back --
-- Lets ready jobs wait in line again if the first job of the line comes before them. By jobs_key_places.
UPDATE jobs SET ready = 0, blocked = 4
WHERE seq IN (
    SELECT r.seq
    FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value
    JOIN jobs r ON r.key = k.key AND (r.ready = 1 OR r.state = 'processing')
    JOIN jobs w ON w.seq = ({first_in_line})
    WHERE r.ready = 1 AND (-w.priority, w.next_run_at, w.seq) < (-r.priority, r.next_run_at, r.seq));

-- give_places --
-- Gives a place to the first job of each line. Guard: fewer jobs than its limit have one, and its rate
-- allows the start. By jobs_key_places, and the primary key of the starts.
UPDATE jobs SET ready = 1, blocked = 0
WHERE seq IN (
    SELECT w.seq
    FROM json_each(:keys) AS one JOIN changed_keys k ON k.id = one.value
    JOIN jobs w ON w.seq = ({first_in_line})
    WHERE w.key_limit > (SELECT count(*) FROM jobs u
                         WHERE u.key = k.key AND (u.ready = 1 OR u.state = 'processing'))
      AND (w.key_rate_ms IS NULL OR w.key_rate_starts > {ready_with_rate} + {started_in_window}))
RETURNING (SELECT k.id FROM changed_keys k WHERE k.key = jobs.key), key_rate_ms IS NOT NULL;

-- forget_changed_keys --
-- Guard: no free place is left for the first job of their lines.
DELETE FROM changed_keys WHERE id IN (SELECT value FROM json_each(:keys));

-- key_users --
-- Jobs of a key that run, are ready, wait in its line, or are due and not promoted yet, the oldest first. A
-- job that was due when it was enqueued is due, although the clock was read before that. By
-- jobs_key_places, jobs_key_lines and jobs_keyed.
SELECT id FROM (
    SELECT * FROM (SELECT seq, id FROM jobs
                   WHERE key = :key AND (ready = 1 OR state = 'processing') LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT seq, id FROM jobs WHERE key = :key AND blocked = 4 LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT seq, id FROM jobs
                   WHERE key = :key AND state = 'pending' AND ready = 0 AND blocked = 0
                     AND CASE WHEN next_run_at <= created_at THEN 0 ELSE next_run_at END <= :now
                   LIMIT :limit))
ORDER BY seq LIMIT :limit;

-- key_places --
-- Jobs that have a place of a key, those that run first. By jobs_key_places.
SELECT id FROM jobs WHERE key = :key AND (ready = 1 OR state = 'processing')
ORDER BY ready, seq LIMIT 3;

-- check_keys --
-- Keys of which more jobs have a place than the limit of any of these allows.
SELECT key, count(*), max(key_limit) FROM jobs
WHERE key IS NOT NULL AND (ready = 1 OR state = 'processing')
GROUP BY key HAVING count(*) > max(key_limit);

-- check_lines --
-- Jobs that are first in the line of a key which has a place for them, and stay there. Their rate allows
-- the start even if it counts all starts that are remembered.
SELECT w.id, k.key FROM (SELECT DISTINCT key FROM jobs WHERE blocked = 4) k
JOIN jobs w ON w.seq = ({first_in_line})
WHERE w.key_limit > (SELECT count(*) FROM jobs u
                     WHERE u.key = k.key AND (u.ready = 1 OR u.state = 'processing'))
  AND (w.key_rate_ms IS NULL OR w.key_rate_starts > {ready_with_rate} + (
          SELECT coalesce(sum(n), 0) FROM starts WHERE kind = 'key' AND owner = k.key))
  AND NOT EXISTS (SELECT 1 FROM changed_keys c WHERE c.key = k.key);
