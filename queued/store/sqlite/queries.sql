-- Every statement of the queue, in the order of a job's life. A block begins with its name.
-- Each move of a job is one guarded UPDATE in a BEGIN IMMEDIATE; no row changed means: lost it.
-- {name} stands for the text of the block of that name.

-- job --
seq, id, queue, priority, command, options, state, label, next_run_at, attempts, max_retries, runs,
    cancel_requested_at, last_error, created_at, updated_at

-- enqueue --
-- No guard: the unique id refuses a second job of that name.
INSERT INTO jobs (id, queue, priority, command, options, state, ready, next_run_at,
                  attempts, max_retries, runs, created_at, updated_at)
VALUES (:id, :queue, :priority, :command, :options, 'pending', :next_run_at <= :now, :next_run_at,
        0, :max_retries, 0, :now, :now);

-- next_due --
-- The earliest time at which a waiting job becomes due. One step into jobs_waiting.
SELECT min(next_run_at) FROM jobs WHERE state = 'pending' AND ready = 0;

-- promote --
-- Waiting jobs whose time has come may be claimed. Guard: still waiting. By jobs_waiting.
UPDATE jobs SET ready = 1
WHERE seq IN (SELECT seq FROM jobs WHERE state = 'pending' AND ready = 0 AND next_run_at <= :now
              ORDER BY next_run_at LIMIT :limit);

-- claim --
-- Takes the first ready jobs, with tokens in the same order. Guard: ready. A step each in jobs_ready.
UPDATE jobs SET state = 'processing', ready = 0, runs = runs + 1, token = :token + first.place,
                updated_at = :now
FROM (SELECT seq AS job, row_number() OVER (ORDER BY priority DESC, next_run_at, seq) - 1 AS place
      FROM (SELECT seq, priority, next_run_at FROM jobs WHERE ready = 1
            ORDER BY priority DESC, next_run_at, seq LIMIT :count)) AS first
WHERE seq = first.job
RETURNING seq, runs, token, CAST(id AS BLOB), CAST(queue AS BLOB), CAST(command AS BLOB),
          CAST(options AS BLOB), attempts, max_retries, next_run_at;

-- open_attempt --
-- An attempt of that number is there only if another program has set `runs` back.
INSERT INTO attempts (job, number, instance, worker, started_at)
VALUES (:job, :attempt, :instance, :worker, :now)
ON CONFLICT DO UPDATE SET
    instance = :instance, worker = :worker, started_at = :now, ended_at = NULL, outcome = NULL;

-- release --
-- A claim that was never started is as if it had not been. Guard: the claim is still this one.
UPDATE jobs SET state = 'pending', ready = 1, runs = runs - 1, token = NULL, updated_at = :now
WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
  AND cancel_requested_at IS NULL
RETURNING seq;

-- forget_attempt --
-- Guard: release found the claim in force, in the same transaction.
DELETE FROM attempts WHERE job = :job AND number = :attempt AND ended_at IS NULL;

-- settle --
-- Ends a run. Guard: the claim is still this one. A cancel that came meanwhile wins over a retry.
UPDATE jobs SET
    state      = CASE WHEN cancel_requested_at IS NOT NULL AND :state IN ('pending', 'dead')
                      THEN 'cancelled' ELSE :state END,
    ready      = cancel_requested_at IS NULL AND :state = 'pending' AND :next_run_at <= :now,
    next_run_at     = :next_run_at,
    attempts   = attempts + :counted,
    token      = NULL,
    cancel_requested_at = NULL,
    last_error = coalesce(:error, last_error),
    updated_at = :now
WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
RETURNING seq, runs, :token, state;

-- close_attempt --
-- Guard: settle found the claim in force, in the same transaction.
UPDATE attempts SET
    started_at = coalesce(:started_at, started_at), ended_at = :ended_at, outcome = :outcome,
    exit_code = :exit_code, signal = :signal, error = :error, ran_ms = :ran_ms, cpu_ms = :cpu_ms,
    peak_kib = :peak_kib, stdout_bytes = :stdout_bytes, stderr_bytes = :stderr_bytes
WHERE job = :job AND number = :attempt AND ended_at IS NULL;

-- interruptions --
-- How many runs of a job were interrupted since the last one that ended in another way. By the
-- primary key, from the last run back.
SELECT count(*) FROM attempts WHERE job = :job AND outcome = 'interrupted' AND number > coalesce(
    (SELECT number FROM attempts WHERE job = :job AND outcome <> 'interrupted'
     ORDER BY number DESC LIMIT 1), 0);

-- store_output --
-- Guard: the claim is still this one. A piece that is sent again after a crash is the same piece.
INSERT INTO output (job, number, stream, position, content)
SELECT :job, :attempt, :stream, :position, :content
FROM jobs WHERE seq = :job AND runs = :attempt AND token = :token AND state = 'processing'
ON CONFLICT DO UPDATE SET content = excluded.content WHERE length(excluded.content) > length(content);

-- trim_output --
-- Drops pieces between the head and the tail that are kept.
DELETE FROM output
WHERE job = :job AND number = :attempt AND stream = :stream
  AND position >= :head_end AND position < :tail_start;

-- running_claims --
-- What an instance has claimed and not settled, in the order of claiming, which is that of the
-- tokens. By jobs_by_state, a row or two for each worker.
SELECT j.seq, j.runs, j.token, CAST(j.id AS BLOB), CAST(j.queue AS BLOB),
       CAST(j.command AS BLOB), CAST(j.options AS BLOB), j.attempts, j.max_retries,
       j.next_run_at, a.worker, a.started_at
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed' AND a.instance = :instance
ORDER BY j.token;

-- cancel --
-- A pending job ends at once. Guard: pending.
UPDATE jobs SET state = 'cancelled', ready = 0, last_error = 'cancelled', updated_at = :now
WHERE seq = :job AND state = 'pending'
RETURNING id;

-- cancel_running --
-- A running one is asked to end; its dispatcher reads the request. Guard: processing.
UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, :now), updated_at = :now
WHERE seq = :job AND state = 'processing'
RETURNING id;

-- cancel_requests --
-- Which of an instance's claims are to be cancelled. By jobs_by_state.
SELECT j.seq, j.runs, j.token
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed' AND j.cancel_requested_at IS NOT NULL
  AND a.instance = :instance;

-- retry --
-- Back to pending with the full budget; the history stays. Guard: dead or cancelled.
UPDATE jobs SET state = 'pending', ready = 1, next_run_at = :now, attempts = 0, updated_at = :now
WHERE seq = :job AND state IN ('dead', 'cancelled')
RETURNING id;

-- retry_all --
-- All that are dead now, oldest first. Guard: dead. By jobs_by_state.
UPDATE jobs SET state = 'pending', ready = 1, next_run_at = :now, attempts = 0, updated_at = :now
WHERE state = 'dead' AND state <> 'completed'
RETURNING id;

-- prunable --
-- A page of one state but completed, ended or not. By jobs_by_state.
SELECT seq, state, created_at, updated_at FROM jobs
WHERE state = :state AND state <> 'completed' AND seq > :after ORDER BY seq LIMIT :limit;

-- prunable_completed --
-- A page of all jobs, most of which are completed. By the primary key.
SELECT seq, state, created_at, updated_at FROM jobs WHERE seq > :after AND :state = 'completed'
ORDER BY seq LIMIT :limit;

-- ended --
-- How many ended in a state before a time. By jobs_by_state.
SELECT count(*) FROM jobs WHERE state = :state AND state <> 'completed' AND updated_at < :before
  AND (:queue IS NULL OR queue = :queue);

-- ended_completed --
-- Reads all jobs: only a person asks.
SELECT count(*) FROM jobs WHERE state = :state AND updated_at < :before
  AND (:queue IS NULL OR queue = :queue);

-- purgeable --
-- A page of those. By jobs_by_state.
SELECT seq FROM jobs WHERE state = :state AND state <> 'completed' AND seq > :after
  AND updated_at < :before AND (:queue IS NULL OR queue = :queue)
ORDER BY seq LIMIT :limit;

-- purgeable_completed --
-- By the primary key.
SELECT seq FROM jobs WHERE state = :state AND seq > :after
  AND updated_at < :before AND (:queue IS NULL OR queue = :queue)
ORDER BY seq LIMIT :limit;

-- purge_output --
-- Some of a job's output. A retry may not come between: the job's row goes in the same transaction,
-- or in one of the next, and then a job that was retried keeps what is left.
DELETE FROM output WHERE job = :job AND (number, stream, position) IN
    (SELECT number, stream, position FROM output WHERE job = :job LIMIT :limit);

-- purge_attempts --
DELETE FROM attempts WHERE job = :job AND number IN
    (SELECT number FROM attempts WHERE job = :job LIMIT :limit);

-- purge --
-- Guard: it has ended.
DELETE FROM jobs WHERE seq = :job AND state IN ('completed', 'dead', 'cancelled');

-- find --
-- By the unique index on id.
SELECT seq, id FROM jobs WHERE id = :id;

-- find_prefix --
-- Two suffice to know that a prefix is ambiguous. By the unique index on id. Digits alone are a name
-- that somebody gave: a time.
SELECT seq, id FROM jobs
WHERE id >= :prefix AND id < :beyond AND id GLOB :form AND id GLOB '*[a-z]*' ORDER BY id LIMIT 2;

-- show --
SELECT {job} FROM jobs WHERE seq = :job;

-- list --
-- A page of all jobs, oldest first. By the primary key.
SELECT {job} FROM jobs WHERE seq > :after AND (:queue IS NULL OR queue = :queue)
ORDER BY seq LIMIT :limit;

-- list_reverse --
SELECT {job} FROM jobs WHERE seq < :after AND (:queue IS NULL OR queue = :queue)
ORDER BY seq DESC LIMIT :limit;

-- list_state --
-- A page of one state but completed. By jobs_by_state.
SELECT {job} FROM jobs WHERE state = :state AND state <> 'completed' AND seq > :after
  AND (:queue IS NULL OR queue = :queue)
  AND (:label IS NULL OR label = :label AND (label <> 'scheduled' OR next_run_at > :due))
ORDER BY seq LIMIT :limit;

-- list_state_reverse --
SELECT {job} FROM jobs WHERE state = :state AND state <> 'completed' AND seq < :after
  AND (:queue IS NULL OR queue = :queue)
  AND (:label IS NULL OR label = :label AND (label <> 'scheduled' OR next_run_at > :due))
ORDER BY seq DESC LIMIT :limit;

-- list_completed --
-- A page of completed jobs. By the primary key: most jobs are completed ones.
SELECT {job} FROM jobs WHERE state = 'completed' AND seq > :after AND (:queue IS NULL OR queue = :queue)
ORDER BY seq LIMIT :limit;

-- list_completed_reverse --
SELECT {job} FROM jobs WHERE state = 'completed' AND seq < :after AND (:queue IS NULL OR queue = :queue)
ORDER BY seq DESC LIMIT :limit;

-- attempts --
SELECT number, instance, worker, started_at, ended_at, outcome, exit_code, signal, error,
       ran_ms, cpu_ms, peak_kib, stdout_bytes, stderr_bytes
FROM attempts WHERE job = :job ORDER BY number;

-- output --
-- A page of one stream's pieces from a position on. By the primary key.
SELECT stream, position, content FROM output
WHERE job = :job AND number = :attempt AND stream = :stream AND position >= :from
ORDER BY position LIMIT :limit;

-- status --
-- By label, over all queues. Kept by triggers, so it reads a few rows.
SELECT label, sum(n) FROM counts GROUP BY label;

-- overdue --
-- Due, but not yet promoted (nobody runs): counted as scheduled above. By jobs_waiting.
SELECT count(*) FROM jobs WHERE state = 'pending' AND ready = 0 AND next_run_at <= :now AND attempts = 0;

-- oldest_due --
-- The earliest due time of what could run now: the first of each priority, by a step each into
-- jobs_ready, and the first that is due but not promoted, by jobs_waiting.
WITH RECURSIVE priorities (priority) AS (
    SELECT max(priority) FROM jobs WHERE ready = 1
    UNION ALL
    SELECT (SELECT max(j.priority) FROM jobs j WHERE j.ready = 1 AND j.priority < p.priority)
    FROM priorities p WHERE p.priority IS NOT NULL
)
SELECT min(due) FROM (
    SELECT (SELECT min(j.next_run_at) FROM jobs j WHERE j.ready = 1 AND j.priority = p.priority) AS due
    FROM priorities p
    UNION ALL
    SELECT min(next_run_at) FROM jobs WHERE state = 'pending' AND ready = 0 AND next_run_at <= :now
);

-- config --
-- As bytes: a value that is not UTF-8 is refused like any other bad value.
SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM settings;

-- config_set --
INSERT INTO settings (key, value, updated_at) VALUES (:key, :value, :now)
ON CONFLICT DO UPDATE SET value = :value, updated_at = :now;

-- config_unset --
DELETE FROM settings WHERE key = :key RETURNING key;

-- register --
INSERT INTO instances (id, host, pid, version, started_at)
VALUES (:id, :host, :pid, :version, :now)
ON CONFLICT DO NOTHING;

-- instances --
SELECT id, host, pid, version, started_at, stop_requested_at
FROM instances ORDER BY started_at, id;

-- instance --
SELECT id, host, pid, version, started_at, stop_requested_at
FROM instances WHERE id = :id;

-- unregistered_instances --
-- Instances that have claims in force and no row. By jobs_by_state.
SELECT DISTINCT a.instance
FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
WHERE j.state = 'processing' AND j.state <> 'completed'
  AND a.instance NOT IN (SELECT id FROM instances);

-- stop --
UPDATE instances SET stop_requested_at = coalesce(stop_requested_at, :now) WHERE id = :id;

-- unregister --
-- Guard: nothing of it is claimed any more.
DELETE FROM instances WHERE id = :id AND NOT EXISTS (
    SELECT 1 FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing' AND j.state <> 'completed' AND a.instance = :id)
RETURNING id;

-- worker_started --
INSERT INTO workers (instance, worker, pid, started_at) VALUES (:instance, :worker, :pid, :now)
ON CONFLICT DO UPDATE SET pid = :pid;

-- worker_gone --
DELETE FROM workers WHERE instance = :instance AND worker = :worker;

-- workers_gone --
DELETE FROM workers WHERE instance = :instance;

-- workers --
-- With what each runs, the oldest of its claims. By jobs_by_state.
SELECT w.instance, w.worker, w.pid, w.started_at, r.id, r.runs, r.command, r.started_at
FROM workers w LEFT JOIN (
    SELECT a.instance, a.worker, j.id, j.runs, j.command, a.started_at, min(j.token)
    FROM jobs j JOIN attempts a ON a.job = j.seq AND a.number = j.runs
    WHERE j.state = 'processing' AND j.state <> 'completed'
    GROUP BY a.instance, a.worker
) r ON r.instance = w.instance AND r.worker = w.worker
ORDER BY w.instance, w.worker;

-- clock --
SELECT offset_ms FROM clock WHERE boot_id = :boot_id;

-- clock_set --
INSERT INTO clock (boot_id, offset_ms) VALUES (:boot_id, :offset)
ON CONFLICT DO UPDATE SET offset_ms = :offset;

-- clock_forget --
DELETE FROM clock WHERE boot_id <> :boot_id;

-- shift_retries --
-- The wall clock was set: delays that were counted from it move along. Guard: waiting after a run.
UPDATE jobs SET next_run_at = next_run_at + :shift
WHERE state = 'pending' AND ready = 0 AND runs > 0;

-- check_counts --
-- Counters that a count does not confirm. All check_ blocks read all jobs, and only a person asks.
SELECT queue, label, sum(n), sum(found) FROM (
    SELECT queue, label, n, 0 AS found FROM counts
    UNION ALL
    SELECT queue, label, 0, count(*) FROM jobs GROUP BY queue, label
)
GROUP BY queue, label HAVING sum(n) <> sum(found);

-- check_claims --
-- Running jobs without an open attempt: no service would settle them.
SELECT j.id, j.runs FROM jobs j
LEFT JOIN attempts a ON a.job = j.seq AND a.number = j.runs AND a.ended_at IS NULL
WHERE j.state = 'processing' AND j.state <> 'completed' AND a.job IS NULL;

-- check_open_attempts --
-- Attempts without an end whose job is not running them.
SELECT coalesce(j.id, a.job), a.number FROM attempts a LEFT JOIN jobs j ON j.seq = a.job
WHERE a.ended_at IS NULL AND (j.seq IS NULL OR j.state <> 'processing' OR j.runs <> a.number);

-- check_runs --
-- Jobs whose attempts are not numbered without a gap up to the last run. A removal that was
-- interrupted took the first ones.
SELECT j.id, j.runs, count(a.number), max(a.number) FROM jobs j LEFT JOIN attempts a ON a.job = j.seq
GROUP BY j.seq
HAVING max(a.number) <> j.runs OR count(a.number) <> max(a.number) - min(a.number) + 1
    OR (count(a.number) = 0 AND j.runs > 0 AND j.state IN ('pending', 'processing'));

-- stats_rows --
-- How many rows each table has. Reads them all.
SELECT 'jobs', count(*) FROM jobs
UNION ALL SELECT 'attempts', count(*) FROM attempts
UNION ALL SELECT 'output', count(*) FROM output
UNION ALL SELECT 'settings', count(*) FROM settings
UNION ALL SELECT 'instances', count(*) FROM instances
UNION ALL SELECT 'workers', count(*) FROM workers;

-- stats_output --
-- The bytes of output that are kept, and the bytes that were printed.
SELECT (SELECT coalesce(sum(length(content)), 0) FROM output),
       (SELECT coalesce(sum(stdout_bytes + stderr_bytes), 0) FROM attempts);

-- stats_ends --
-- The oldest and the newest job. By the primary key.
SELECT id, created_at FROM (SELECT seq, id, created_at FROM jobs ORDER BY seq LIMIT 1)
UNION ALL
SELECT id, created_at FROM (SELECT seq, id, created_at FROM jobs ORDER BY seq DESC LIMIT 1);

-- complete_jobs --
-- The newest ids that begin with the prefix. By the unique index on id.
SELECT id FROM jobs WHERE id >= :prefix AND id < :beyond ORDER BY id DESC LIMIT :limit;

-- complete_state --
-- The newest ids of one state but completed. By jobs_by_state.
SELECT id FROM jobs WHERE state = :state AND state <> 'completed' ORDER BY seq DESC LIMIT :limit;

-- complete_queues --
-- Queues that have had a job. Kept by triggers, so it reads a few rows.
SELECT DISTINCT queue FROM counts ORDER BY queue LIMIT :limit;

-- complete_stored --
SELECT key FROM settings ORDER BY key LIMIT :limit;
