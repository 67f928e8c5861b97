-- The statements about jobs that wait for the end of other jobs, in the form of `queries.sql`.

-- condition_status --
-- Of the condition of a row `d`, as the state of the job `o` that it waits for has it.
CASE WHEN o.state IN ('pending', 'processing') THEN 'waiting'
     WHEN d.condition = 'after_any' OR d.condition = 'after' AND o.state = 'completed'
          OR d.condition = 'after_fail' AND o.state = 'dead' THEN 'met'
     ELSE 'failed' END

-- lock_dependencies --
-- One program at a time until the end of its transaction: if two end the last two jobs that a third one
-- waits for, the second must see what the first did.
SELECT pg_advisory_xact_lock('queued.dependencies'::regclass::oid::integer, 0);

-- count_of_arrays --
-- How many conditions pairs make that name arrays. By jobs_array, once for each array.
SELECT sum(times * (SELECT count(*) FROM queued.jobs WHERE array_id = other))::bigint
FROM (SELECT value ->> 1 AS other, count(*) AS times
      FROM json_array_elements(:pairs::json) AS pair (value) GROUP BY value ->> 1) AS one;

-- unknown_job --
-- A pair of names of which the second is that of no job and no array. By the unique index on id and by
-- jobs_array.
SELECT value ->> 0, value ->> 1 FROM json_array_elements(:pairs::json) AS pair (value)
WHERE NOT EXISTS (SELECT FROM queued.jobs WHERE id = value ->> 1)
  AND NOT EXISTS (SELECT FROM queued.jobs WHERE array_id = value ->> 1) LIMIT 1;

-- awaited_jobs --
-- The jobs that the second names of pairs stand for: the one with this id, and those of this array.
SELECT j.seq AS on_job, value ->> 0 AS name, value ->> 2 AS condition
FROM json_array_elements(:pairs::json) AS pair (value) JOIN queued.jobs j ON j.id = value ->> 1
UNION
SELECT j.seq, value ->> 0, value ->> 2
FROM json_array_elements(:pairs::json) AS pair (value) JOIN queued.jobs j ON j.array_id = value ->> 1

-- await_jobs --
-- Marks and locks the jobs that others wait for, and keeps completed ones from being removed meanwhile.
-- Guard: it can still end, now or after a retry. Also if it is marked already: the lock orders this
-- transaction and one that ends the job.
WITH kept AS MATERIALIZED (
    SELECT queued.keep_jobs(ARRAY(SELECT on_job FROM ({awaited_jobs}) AS one)) AS jobs
), wanted AS MATERIALIZED (
    SELECT seq FROM queued.jobs
    WHERE seq = ANY((SELECT jobs FROM kept)::bigint[]) AND state <> 'completed'
    ORDER BY seq FOR NO KEY UPDATE)
UPDATE queued.jobs j SET awaited = greatest(awaited, 1) FROM wanted WHERE j.seq = wanted.seq;

-- add_dependencies --
-- Makes jobs wait for others: pairs of names, and a condition. Guard: await_jobs has marked the other
-- job, or it is completed; one that was added to an array since is not waited for. By the unique index
-- on id and by jobs_array.
INSERT INTO queued.dependencies (on_job, job, condition, status)
SELECT d.on_job, d.job, d.condition, {condition_status}
FROM (SELECT on_job, (SELECT seq FROM queued.jobs WHERE id = name) AS job, condition
      FROM ({awaited_jobs}) AS one) AS d
JOIN queued.jobs o ON o.seq = d.on_job
WHERE o.awaited > 0 OR o.state = 'completed'
RETURNING job;

-- missing_dependency --
-- A pair of names that has no condition, because the other job was removed meanwhile; another one may have
-- its id by now. By the primary key, the unique index on id and jobs_array.
SELECT value ->> 0, value ->> 1 FROM json_array_elements(:pairs::json) AS pair (value)
WHERE NOT EXISTS (SELECT 1 FROM queued.jobs o JOIN queued.dependencies d ON d.on_job = o.seq
                  JOIN queued.jobs j ON j.seq = d.job AND j.id = value ->> 0 WHERE o.id = value ->> 1)
  AND NOT EXISTS (SELECT 1 FROM queued.jobs o JOIN queued.dependencies d ON d.on_job = o.seq
                  JOIN queued.jobs j ON j.seq = d.job AND j.id = value ->> 0 WHERE o.array_id = value ->> 1)
LIMIT 1;

-- take_changes --
-- Jobs that have ended or were retried, and whose dependents are to be told. By jobs_changed; jobs that
-- are being moved are left for the next turn.
WITH changed AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE awaited = 2 ORDER BY seq LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
UPDATE queued.jobs j SET awaited = 1 FROM changed WHERE j.seq = changed.seq
RETURNING j.seq;

-- put_back_changes --
-- For the next turn.
UPDATE queued.jobs SET awaited = 2 WHERE seq = ANY(:jobs::bigint[]);

-- mark_dependencies --
-- Brings the conditions on some jobs to the states of these. Guard: not met. Those on
-- one job with one kind and status are all wrong or all right, so that no row is read in vain. By
-- dependencies_unmet, also if the plan was made while the table was small. The lock keeps the rows in
-- their places.
WITH wrong AS MATERIALIZED (
    SELECT found.place, {condition_status} AS status
    FROM unnest(:jobs::bigint[]) AS one (seq) JOIN queued.jobs o USING (seq), (VALUES
        ('after', 'waiting'), ('after', 'failed'), ('after_any', 'waiting'), ('after_any', 'failed'),
        ('after_fail', 'waiting'), ('after_fail', 'failed')) AS d (condition, status), LATERAL (
        SELECT u.ctid AS place FROM queued.dependencies u
        WHERE u.on_job = o.seq AND u.condition = d.condition AND u.status = d.status AND u.status <> 'met'
        LIMIT :limit) AS found
    WHERE d.status <> {condition_status}
    LIMIT :limit)
UPDATE queued.dependencies d SET status = wrong.status FROM wrong WHERE d.ctid = wrong.place
RETURNING d.job;

-- move_dependents --
-- Moves jobs as their conditions have it: a job whose last condition is met is ready if it is due; one of
-- which a condition has failed is cancelled, and pending again when none has failed any more. Guard:
-- blocked by its conditions. A cancelled job gives its unique key up, which another job may hold when it
-- is pending again. They are locked in the order of the jobs. By the primary key and by dependencies_of. Without EXISTS, of which the
-- planner may make one read of all conditions.
WITH one AS MATERIALIZED (
    SELECT seq AS job FROM queued.jobs WHERE seq = ANY(:jobs::bigint[]) AND blocked & 2 <> 0
    ORDER BY seq FOR NO KEY UPDATE
), found AS MATERIALIZED (
    SELECT one.job,
           (SELECT o.id || ' is ' || o.state
            FROM queued.dependencies d JOIN queued.jobs o ON o.seq = d.on_job
            WHERE d.job = one.job AND d.status = 'failed' LIMIT 1) AS reason,
           (SELECT true FROM queued.dependencies d
            WHERE d.job = one.job AND d.status = 'waiting' LIMIT 1) IS NOT NULL AS waits
    FROM one
)
UPDATE queued.jobs j SET
    state       = CASE WHEN reason IS NULL THEN 'pending' ELSE 'cancelled' END,
    ready       = reason IS NULL AND NOT waits AND blocked = 2 AND key IS NULL AND next_run_at <= :now,
    blocked     = CASE WHEN reason IS NULL AND NOT waits THEN blocked & ~2 ELSE blocked END,
    next_run_at = CASE WHEN reason IS NULL AND NOT waits THEN greatest(next_run_at, :now)
                       ELSE next_run_at END,
    last_error  = CASE WHEN reason IS NOT NULL THEN 'dependency: ' || reason
                       WHEN state = 'pending'  THEN last_error END,
    unique_while = CASE WHEN reason IS NULL OR unique_while = 'any' THEN unique_while END,
    awaited     = CASE WHEN awaited > 0 AND (state = 'pending') = (reason IS NOT NULL) THEN 2
                       ELSE awaited END,
    updated_at  = :now
FROM found
WHERE seq = job AND blocked & 2 <> 0 AND (
    state = 'pending' AND (reason IS NOT NULL OR NOT waits) OR state = 'cancelled' AND reason IS NULL);

-- wait_again --
-- What retried jobs wait for from now on: conditions that cannot be met as things are do not count any
-- more. By dependencies_of.
UPDATE queued.dependencies d SET status = CASE {condition_status} WHEN 'waiting' THEN 'waiting' ELSE 'met' END
FROM queued.jobs o
WHERE o.seq = d.on_job AND d.job = ANY(:jobs::bigint[]) AND d.status <> 'met';

-- block_again --
-- Guard: retried, and waits for a job.
UPDATE queued.jobs SET ready = false, blocked = 2
WHERE seq = ANY(:jobs::bigint[]) AND state = 'pending'
  AND EXISTS (SELECT FROM queued.dependencies WHERE job = seq AND status = 'waiting');

-- removable --
-- Those of some ended jobs whose dependents know of the end.
SELECT seq FROM queued.jobs WHERE seq = ANY(:jobs::bigint[]) AND awaited < 2 ORDER BY seq;

-- abandon_dependents --
-- The dependents of jobs that are removed cannot wait for them again.
WITH one AS MATERIALIZED (
    SELECT seq FROM queued.jobs WHERE state = 'cancelled' AND blocked <> 0 AND seq IN (
        SELECT job FROM queued.dependencies WHERE on_job = ANY(:jobs::bigint[]) AND status = 'failed')
    ORDER BY seq FOR NO KEY UPDATE)
UPDATE queued.jobs j SET blocked = 0 FROM one WHERE j.seq = one.seq;

-- dependencies --
-- What a job waits for, the conditions that are not met first. By dependencies_of.
SELECT o.id, o.label, d.condition, d.status FROM queued.dependencies d JOIN queued.jobs o ON o.seq = d.on_job
WHERE d.job = :job ORDER BY d.status DESC, d.on_job LIMIT :limit;
