-- The statements about jobs that wait for the end of other jobs, in the form of `queries.sql`.

-- condition_status --
-- Of the condition of a row `d`, as the state of the job `o` that it waits for has it.
CASE WHEN o.state IN ('pending', 'processing') THEN 'waiting'
     WHEN d.condition = 'after_any' OR d.condition = 'after' AND o.state = 'completed'
          OR d.condition = 'after_fail' AND o.state = 'dead' THEN 'met'
     ELSE 'failed' END

-- lock_dependencies --
-- Nothing: one program at a time writes to the file.
SELECT 1;

-- count_of_arrays --
-- How many conditions pairs make that name arrays. By jobs_array, once for each array.
SELECT sum(times * (SELECT count(*) FROM jobs WHERE array_id = other))
FROM (SELECT value ->> 1 AS other, count(*) AS times
      FROM json_each(:pairs) GROUP BY value ->> 1) AS one;

-- unknown_job --
-- A pair of names of which the second is that of no job and no array. By the unique index on id and by
-- jobs_array.
SELECT value ->> 0, value ->> 1 FROM json_each(:pairs)
WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = value ->> 1)
  AND NOT EXISTS (SELECT 1 FROM jobs WHERE array_id = value ->> 1) LIMIT 1;

-- awaited_jobs --
-- The jobs that the second names of pairs stand for: the one with this id, and those of this array.
SELECT j.seq AS on_job, value ->> 0 AS name, value ->> 2 AS condition
FROM json_each(:pairs) JOIN jobs j ON j.id = value ->> 1
UNION
SELECT j.seq, value ->> 0, value ->> 2 FROM json_each(:pairs) JOIN jobs j ON j.array_id = value ->> 1

-- await_jobs --
-- Marks the jobs that others wait for. Guard: it can still end, now or after a retry.
UPDATE jobs SET awaited = 1
WHERE seq IN (SELECT on_job FROM ({awaited_jobs}) AS one) AND state <> 'completed' AND awaited = 0;

-- add_dependencies --
-- Makes jobs wait for others: pairs of names, and a condition. By the unique index on id and by
-- jobs_array.
INSERT INTO dependencies (on_job, job, condition, status)
SELECT d.on_job, d.job, d.condition, {condition_status}
FROM (SELECT on_job, (SELECT seq FROM jobs WHERE id = name) AS job, condition
      FROM ({awaited_jobs}) AS one) AS d JOIN jobs o ON o.seq = d.on_job
RETURNING job;

-- missing_dependency --
-- A pair of names that has no condition, because the other job was removed meanwhile; another one may have
-- its id by now. By the primary key, the unique index on id and jobs_array.
SELECT value ->> 0, value ->> 1 FROM json_each(:pairs)
WHERE NOT EXISTS (SELECT 1 FROM jobs o JOIN dependencies d ON d.on_job = o.seq
                  JOIN jobs j ON j.seq = d.job AND j.id = value ->> 0 WHERE o.id = value ->> 1)
  AND NOT EXISTS (SELECT 1 FROM jobs o JOIN dependencies d ON d.on_job = o.seq
                  JOIN jobs j ON j.seq = d.job AND j.id = value ->> 0 WHERE o.array_id = value ->> 1)
LIMIT 1;

-- take_changes --
-- Jobs that have ended or were retried, and whose dependents are to be told. By jobs_changed.
UPDATE jobs SET awaited = 1
WHERE seq IN (SELECT seq FROM jobs WHERE awaited = 2 ORDER BY seq LIMIT :limit)
RETURNING seq;

-- put_back_changes --
-- For the next turn.
UPDATE jobs SET awaited = 2 WHERE seq IN (SELECT value FROM json_each(:jobs));

-- mark_dependencies --
-- Brings the conditions on some jobs to the states of these. Guard: not met. Those on
-- one job with one kind and status are all wrong or all right, so that no row is read in vain. By
-- dependencies_unmet.
UPDATE dependencies AS d SET status = (SELECT {condition_status} FROM jobs o WHERE o.seq = d.on_job)
WHERE (on_job, job, condition) IN (
    SELECT u.on_job, u.job, u.condition FROM json_each(:jobs) CROSS JOIN jobs o ON o.seq = value
    CROSS JOIN (SELECT column1 AS condition, column2 AS status FROM (VALUES
        ('after', 'waiting'), ('after', 'failed'), ('after_any', 'waiting'), ('after_any', 'failed'),
        ('after_fail', 'waiting'), ('after_fail', 'failed'))) AS d
    CROSS JOIN dependencies u ON u.on_job = o.seq AND u.condition = d.condition AND u.status = d.status
    WHERE u.status <> 'met' AND d.status <> {condition_status} LIMIT :limit)
RETURNING job;

-- move_dependents --
-- Moves jobs as their conditions have it: a job whose last condition is met is ready if it is due; one of
-- which a condition has failed is cancelled, and pending again when none has failed any more. Guard:
-- blocked by its conditions. A cancelled job gives its unique key up, which another job may hold when it
-- is pending again. By the primary key and by dependencies_of.
WITH found AS MATERIALIZED (
    SELECT value AS job,
           (SELECT o.id || ' is ' || o.state FROM dependencies d JOIN jobs o ON o.seq = d.on_job
            WHERE d.job = value AND d.status = 'failed' LIMIT 1) AS reason,
           EXISTS (SELECT 1 FROM dependencies d WHERE d.job = value AND d.status = 'waiting') AS waits
    FROM json_each(:jobs)
)
UPDATE jobs AS j SET
    state       = CASE WHEN reason IS NULL THEN 'pending' ELSE 'cancelled' END,
    ready       = reason IS NULL AND NOT waits AND blocked = 2 AND key IS NULL AND next_run_at <= :now,
    blocked     = CASE WHEN reason IS NULL AND NOT waits THEN blocked & ~2 ELSE blocked END,
    next_run_at = CASE WHEN reason IS NULL AND NOT waits THEN max(next_run_at, :now) ELSE next_run_at END,
    last_error  = CASE WHEN reason IS NOT NULL THEN 'dependency: ' || reason
                       WHEN state = 'pending'  THEN last_error END,
    unique_while = CASE WHEN reason IS NULL OR unique_while = 'any' THEN unique_while END,
    awaited     = CASE WHEN awaited > 0 AND (state = 'pending') = (reason IS NOT NULL) THEN 2
                       ELSE awaited END,
    updated_at  = :now
FROM found
WHERE seq = job AND blocked & 2 AND (
    state = 'pending' AND (reason IS NOT NULL OR NOT waits) OR state = 'cancelled' AND reason IS NULL);

-- wait_again --
-- What retried jobs wait for from now on: conditions that cannot be met as things are do not count any
-- more. By dependencies_of.
UPDATE dependencies AS now SET status = CASE
    (SELECT {condition_status} FROM dependencies d JOIN jobs o ON o.seq = d.on_job
     WHERE d.on_job = now.on_job AND d.job = now.job AND d.condition = now.condition)
    WHEN 'waiting' THEN 'waiting' ELSE 'met' END
WHERE job IN (SELECT value FROM json_each(:jobs)) AND status <> 'met';

-- block_again --
-- Guard: retried, and waits for a job.
UPDATE jobs SET ready = 0, blocked = 2
WHERE seq IN (SELECT value FROM json_each(:jobs)) AND state = 'pending'
  AND EXISTS (SELECT 1 FROM dependencies WHERE job = seq AND status = 'waiting');

-- removable --
-- Those of some ended jobs whose dependents know of the end.
SELECT seq FROM jobs WHERE seq IN (SELECT value FROM json_each(:jobs)) AND awaited < 2 ORDER BY seq;

-- abandon_dependents --
-- The dependents of a job that is removed cannot wait for it again.
UPDATE jobs SET blocked = 0 WHERE state = 'cancelled' AND blocked <> 0
  AND seq IN (SELECT job FROM dependencies WHERE on_job = :job AND status = 'failed');

-- dependencies --
-- What a job waits for, the conditions that are not met first. By dependencies_of.
SELECT o.id, o.label, d.condition, d.status FROM dependencies d JOIN jobs o ON o.seq = d.on_job
WHERE d.job = :job ORDER BY d.status DESC, d.on_job LIMIT :limit;
