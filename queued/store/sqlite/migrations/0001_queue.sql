-- The queue: jobs, their runs and output, settings and services. Times are milliseconds UTC.
--
-- **Three things are called "attempt".** The column `jobs.attempts` counts the failed runs that use
-- up `max_retries`. The table `attempts` has a row for every run, failed or not, but only one for
-- deferred runs in a row. The number of a run (`attempts.number`, QUEUED_ATTEMPT in the job's
-- environment) counts all runs from 1.

-- The distinct pairs of a queue and the set of labels that a job requires, so that a job names its pair
-- by a small number. A row is never changed or deleted.
CREATE TABLE lanes (
    id       INTEGER PRIMARY KEY,
    queue    TEXT    NOT NULL,
    requires TEXT    NOT NULL,          -- in alphabetical order, separated by commas
    UNIQUE (queue, requires)
) STRICT;

INSERT INTO lanes (id, queue, requires) VALUES (0, 'default', '');

CREATE TABLE jobs (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of enqueueing; never reused
    id                  TEXT    NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 64),
    queue               TEXT    NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    priority            INTEGER NOT NULL,              -- higher starts first
    lane               INTEGER NOT NULL DEFAULT 0 REFERENCES lanes (id), -- its queue and what it requires
    command             TEXT    NOT NULL CHECK         -- one argument of a program: no NUL, 128 KiB
        (length(CAST(command AS BLOB)) BETWEEN 1 AND 131071 AND instr(command, char(0)) = 0),
    options             TEXT    NOT NULL CHECK (json_valid(options) AND json_type(options) = 'object'),
    state               TEXT    NOT NULL CHECK
        (state IN ('pending', 'processing', 'completed', 'dead', 'cancelled')),
    ready               INTEGER NOT NULL CHECK (ready IN (0, 1)), -- pending and due: may be claimed
    next_run_at         INTEGER NOT NULL,              -- not before this time
    attempts            INTEGER NOT NULL CHECK (attempts >= 0),   -- failed runs that count
    max_retries         INTEGER NOT NULL CHECK (max_retries >= 0),
    runs                INTEGER NOT NULL CHECK (runs BETWEEN attempts AND 1000000000), -- all runs
    token               INTEGER,                       -- of the claim that is in force
    cancel_requested_at INTEGER,
    last_error          TEXT,
    -- Why a pending job may not be claimed even if it is due, a set of bits: 1 held by a user, 2 waits
    -- for other jobs, 4 its key is in use. The last one stands alone: a job that waits for something
    -- else is not in the line of its key.
    blocked             INTEGER NOT NULL DEFAULT 0 CHECK (blocked BETWEEN 0 AND 4),
    slots               INTEGER NOT NULL DEFAULT 1 CHECK (slots >= 1), -- of the limit of its queue
    labels              TEXT CHECK (json_type(labels) = 'object'), -- of the job, for people
    submitted_by        TEXT    NOT NULL DEFAULT '',   -- the user of the program that wrote it
    expires_at          INTEGER,                       -- not started from this time on
    unique_key          TEXT CHECK (length(unique_key) BETWEEN 1 AND 200),
    unique_while        TEXT CHECK (unique_while IN ('waiting', 'active', 'any')), -- NULL: gave it up
    unique_until        INTEGER,                       -- another job may take the key then
    schedule            TEXT,                          -- whose firing it is
    scheduled_at        INTEGER,                       -- the time of the firing, unless a user ran it
    -- 0: no job waits for its end; 1: jobs may wait for it; 2: and it has ended or was retried since
    -- they were told.
    awaited             INTEGER NOT NULL DEFAULT 0 CHECK (awaited BETWEEN 0 AND 2),
    array_id            TEXT,                          -- the name of the array that it belongs to
    key                 TEXT CHECK (length(key) BETWEEN 1 AND 200), -- few jobs of a key run at once:
    key_limit           INTEGER NOT NULL DEFAULT 1 CHECK (key_limit BETWEEN 1 AND 1000), -- so many
    key_rate_starts     INTEGER CHECK (key_rate_starts >= 1), -- so many jobs with a rate and its key start
    key_rate_ms         INTEGER CHECK                  -- in any interval of this length; NULL: no rate
        (key_rate_ms BETWEEN 1 AND 86400000),
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    -- The key that no other job may have now. A claim ends `waiting`.
    held_key TEXT GENERATED ALWAYS AS (
        CASE WHEN unique_while = 'any'
               OR unique_while IS NOT NULL AND state IN ('pending', 'processing')
             THEN unique_key END) VIRTUAL,
    -- What users see: the state, with `pending` refined.
    label TEXT NOT NULL GENERATED ALWAYS AS (
        CASE WHEN state <> 'pending' THEN state
             WHEN blocked & 1        THEN 'held'
             WHEN blocked <> 0       THEN 'blocked'
             WHEN attempts > 0       THEN 'failed'
             WHEN ready = 0          THEN 'scheduled'
             ELSE 'pending' END) VIRTUAL,
    CHECK (ready = 0 OR state = 'pending' AND blocked = 0),
    CHECK (state <> 'pending' OR runs < 1000000000),   -- a claim adds one
    CHECK ((token IS NOT NULL) = (state = 'processing')),
    CHECK (cancel_requested_at IS NULL OR state = 'processing'),
    CHECK (unique_key IS NOT NULL OR unique_while IS NULL),
    CHECK (scheduled_at IS NULL OR schedule IS NOT NULL),
    CHECK (blocked <> 4 OR key IS NOT NULL),
    CHECK ((key_rate_starts IS NULL) = (key_rate_ms IS NULL)),
    CHECK (key_rate_ms IS NULL OR key IS NOT NULL)
) STRICT;

-- Jobs that may be claimed now, by lane in the order of claiming: a claim is one step into this index
-- for each lane that a service may run, so that it passes no job of other queues or services.
CREATE INDEX jobs_ready ON jobs (lane, priority DESC, next_run_at, seq) WHERE ready = 1;
-- Jobs that wait for their time: finds those that have become due, and the next due time. Only with the
-- parentheses SQLite knows that the index covers a query with these conditions.
CREATE INDEX jobs_waiting ON jobs (next_run_at)
    WHERE state = 'pending' AND (ready = 0 AND blocked = 0);
-- Pending jobs that expire, by the time.
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;
-- The jobs of each array.
CREATE INDEX jobs_array ON jobs (array_id) WHERE array_id IS NOT NULL;
-- Jobs whose dependents must be told of an end.
CREATE INDEX jobs_changed ON jobs (awaited) WHERE awaited = 2;
-- Jobs by state, without the many completed ones: for lists and rescues. The queue stands in it so that
-- a list of one queue reads no row of another.
CREATE INDEX jobs_by_state ON jobs (state, seq, queue) WHERE state <> 'completed';
-- At most one job holds a key.
CREATE UNIQUE INDEX jobs_unique ON jobs (held_key) WHERE held_key IS NOT NULL;
-- The firings of a schedule: no time of it has two jobs.
CREATE UNIQUE INDEX jobs_fired ON jobs (schedule, scheduled_at) WHERE schedule IS NOT NULL;
-- The firings of a schedule that wait or run.
CREATE INDEX jobs_fired_live ON jobs (schedule)
    WHERE schedule IS NOT NULL AND state IN ('pending', 'processing');
-- The jobs of each key that wait for their time, first those that were due when they were enqueued.
CREATE INDEX jobs_keyed ON jobs (key, CASE WHEN next_run_at <= created_at THEN 0 ELSE next_run_at END)
    WHERE key IS NOT NULL AND state = 'pending' AND ready = 0 AND blocked = 0;
-- The jobs that have a place of their key: a job takes it when it becomes ready, and has it while it runs.
CREATE INDEX jobs_key_places ON jobs (key)
    WHERE key IS NOT NULL AND (ready = 1 OR state = 'processing');
-- The line of each key: the due jobs that wait for a place, in the order of claiming.
CREATE INDEX jobs_key_lines ON jobs (key, priority DESC, next_run_at, seq) WHERE blocked = 4;

-- Every run of every job. Of deferred runs in a row (their exit codes are in `defer_on`) only the last
-- one has a row.
CREATE TABLE attempts (
    job          INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number       INTEGER NOT NULL CHECK (number >= 1),
    instance     TEXT    NOT NULL,
    worker       INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,      -- of the claim, then of the command once it has ended
    ended_at     INTEGER,
    outcome      TEXT CHECK (outcome IN
        ('exit', 'signal', 'timeout', 'oom', 'lost', 'spawn-error', 'cancelled', 'interrupted',
         'expired')),
    exit_code    INTEGER,
    signal       TEXT,
    error        TEXT,
    ran_ms       INTEGER,               -- by a clock that does not jump
    cpu_ms       INTEGER,               -- user and system
    peak_kib     INTEGER,               -- resident memory of its largest process
    stdout_bytes INTEGER NOT NULL DEFAULT 0, -- all bytes printed, kept or not
    stderr_bytes INTEGER NOT NULL DEFAULT 0,
    deferrals    INTEGER NOT NULL DEFAULT 0, -- the deferred runs that this row stands for
    waited_ms    INTEGER,               -- from the due time to the claim
    PRIMARY KEY (job, number),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

-- Runs by the time of their end: `stats` reads those of a span of time, and `status` counts those of the
-- last minute that completed their job.
CREATE INDEX attempts_ended ON attempts (ended_at, job, number, outcome, exit_code)
WHERE ended_at IS NOT NULL;

-- Output in pieces of at most 64 KiB. `position` counts the bytes of the stream from 0, so a gap
-- between two pieces is output that was dropped.
CREATE TABLE output (
    job      INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    stream   INTEGER NOT NULL CHECK (stream IN (1, 2)), -- 1 stdout or both together, 2 stderr
    position INTEGER NOT NULL CHECK (position >= 0),
    content  BLOB    NOT NULL,
    PRIMARY KEY (job, number, stream, position),
    FOREIGN KEY (job, number) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What each run of a job gets as standard input.
CREATE TABLE inputs (
    job     INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    content BLOB    NOT NULL CHECK (length(content) <= 1048576)
) STRICT;

-- Signals to send to runs, until the dispatcher has read them.
CREATE TABLE signals (
    id     INTEGER PRIMARY KEY,
    job    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name   TEXT    NOT NULL
) STRICT;

CREATE INDEX signals_by_job ON signals (job);

-- Settings that `config set` has stored.
CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Services that run, or that died and were not yet cleaned up. A service is alive while its lock
-- file, whose path is that of the database with `.ID.lock`, is locked.
CREATE TABLE instances (
    id                TEXT PRIMARY KEY,
    host              TEXT    NOT NULL,
    pid               INTEGER NOT NULL,
    version           TEXT    NOT NULL,
    started_at        INTEGER NOT NULL,
    stop_requested_at INTEGER,
    -- The settings that it got by a flag or a variable, which override the stored ones: a JSON
    -- object of the setting and the name of the flag or variable.
    overrides         TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(overrides)),
    labels            TEXT    NOT NULL DEFAULT '' -- in alphabetical order, separated by commas
) STRICT, WITHOUT ROWID;

-- Hosts whose services claim no jobs, until `host resume`.
CREATE TABLE drained_hosts (
    host       TEXT PRIMARY KEY,
    drained_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    instance   TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    worker     INTEGER NOT NULL,
    pid        INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (instance, worker)
) STRICT, WITHOUT ROWID;

-- The wall clock less the time since boot; a change shows that the wall clock was set.
CREATE TABLE clock (
    boot_id   TEXT PRIMARY KEY,
    offset_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- All runs that have ended, also those that a purge has removed, by queue, result and the upper bounds of
-- the buckets of wait and duration (0: none, -1: not known). Each service writes rows of its own, so
-- that no two wait for each other; at its next start a service adds those of services that have ended
-- to the rows without an instance.
CREATE TABLE run_totals (
    instance  TEXT    NOT NULL,
    queue     TEXT    NOT NULL,
    result    TEXT    NOT NULL,        -- completed, deferred, or else the outcome
    waited_le INTEGER NOT NULL,
    ran_le    INTEGER NOT NULL,
    runs      INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    ran_ms    INTEGER NOT NULL,
    PRIMARY KEY (instance, queue, result, waited_le, ran_le)
) STRICT, WITHOUT ROWID;

-- The runs that ended in each minute, or in each hour two hours later, for a month, also those that a purge
-- has removed: by queue, result, and the bucket of the wait (from the due time to the claim), and again of
-- the duration. Bucket n begins at 10^(n/40) ms; -1: not known. Retries, CPU time and memory are only in
-- the rows of durations. Services of a server write rows of their own, so that no two wait for each other.
CREATE TABLE run_periods (
    length_ms INTEGER NOT NULL CHECK (length_ms IN (60000, 3600000)),
    begins_at INTEGER NOT NULL,
    instance  TEXT    NOT NULL,        -- empty: of all services
    queue     TEXT    NOT NULL,
    result    TEXT    NOT NULL,        -- completed, deferred, or else the outcome
    measure   TEXT    NOT NULL CHECK (measure IN ('wait', 'run')),
    bucket    INTEGER NOT NULL,
    runs      INTEGER NOT NULL,
    retries   INTEGER NOT NULL,        -- runs of jobs that had run before
    cpu_ms    INTEGER NOT NULL,
    peak_kib  INTEGER NOT NULL,
    PRIMARY KEY (length_ms, begins_at, instance, queue, result, measure, bucket)
) STRICT, WITHOUT ROWID;

-- Which job waits for the end of which. A condition that held once is met for ever. If it cannot hold
-- any more, it has failed, and its job is cancelled with the bit 2 of `blocked` left, until a retry of
-- the other job makes it wait again.
CREATE TABLE dependencies (
    on_job    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    job       INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    condition TEXT    NOT NULL CHECK (condition IN ('after', 'after_any', 'after_fail')),
    status    TEXT    NOT NULL CHECK (status IN ('waiting', 'met', 'failed')),
    PRIMARY KEY (on_job, job, condition)
) STRICT, WITHOUT ROWID;

CREATE INDEX dependencies_of ON dependencies (job, status);
-- Conditions that may have to change when their job ends or is retried.
CREATE INDEX dependencies_unmet ON dependencies (on_job, condition, status) WHERE status <> 'met';

-- Jobs by queue and label, kept by the triggers below, so that `status` need not count the jobs.
CREATE TABLE counts (
    queue TEXT    NOT NULL,
    label TEXT    NOT NULL,
    n     INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (queue, label)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO counts (queue, label, n) VALUES (new.queue, new.label, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
    UPDATE counts SET n = n - 1 WHERE queue = old.queue AND label = old.label;
END;

CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, ready, attempts, blocked, queue ON jobs
WHEN old.label <> new.label OR old.queue <> new.queue BEGIN
    UPDATE counts SET n = n - 1 WHERE queue = old.queue AND label = old.label;
    INSERT INTO counts (queue, label, n) VALUES (new.queue, new.label, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;

-- What users have set for queues. A queue without a row has no limit, priority 0 and weight 1.
CREATE TABLE queues (
    name          TEXT    PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    concurrency   INTEGER CHECK (concurrency >= 0), -- places for running jobs; NULL: no limit
    priority      INTEGER NOT NULL DEFAULT 0,       -- of its jobs before those of other queues
    weight        INTEGER NOT NULL DEFAULT 1 CHECK (weight >= 1), -- its share beside equal priorities
    paused_at     INTEGER,                          -- its jobs are not claimed since then
    paused_by     TEXT,
    paused_reason TEXT,
    draining_at   INTEGER,                          -- it takes no new jobs since then
    defaults      TEXT    NOT NULL DEFAULT '{}' CHECK (json_type(defaults) = 'object'),
    suspended_at  INTEGER,                          -- its running jobs are frozen since then
    note          TEXT,                             -- for people
    rate_starts   INTEGER CHECK (rate_starts >= 1), -- so many of its jobs may start
    rate_ms       INTEGER CHECK (rate_ms >= 1),     -- in any interval of this length; NULL: no rate
    CHECK (suspended_at IS NULL OR paused_at IS NOT NULL),
    CHECK ((rate_starts IS NULL) = (rate_ms IS NULL))
) STRICT, WITHOUT ROWID;

-- Schedules: each enqueues a job at the times that its cron expression names.
CREATE TABLE schedules (
    name       TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    cron       TEXT    NOT NULL,
    zone       TEXT    NOT NULL,      -- the time zone of the expression, a name of the tz database
    job        TEXT    NOT NULL CHECK (json_valid(job) AND json_type(job) = 'object'), -- fields
    catch_up   TEXT    NOT NULL CHECK (catch_up IN ('last', 'none', 'all')),
    overlap    TEXT    NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue', 'replace')),
    file       TEXT,                  -- HOST:PATH of the conf file that has it; else `schedule add` made it
    next_at    INTEGER,               -- when it is due
    owed_at    INTEGER,               -- the first time that has not fired, if a refusal has put off next_at
    last_at    INTEGER,               -- the last time that has fired, or was skipped
    paused_at  INTEGER,
    fired      INTEGER NOT NULL DEFAULT 0,
    skipped    INTEGER NOT NULL DEFAULT 0, -- because a job of the schedule waited or ran
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX schedules_due ON schedules (next_at) WHERE paused_at IS NULL;

-- Keys of which a job has joined or left the line, has given its place up, or has started under a rate,
-- until a dispatcher has given the free places to the first jobs of the line; see keys.sql.
CREATE TABLE changed_keys (
    id  INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
) STRICT;

-- Not if a job that has a place is claimed, or a place is given or taken back; see keys.sql.
CREATE TRIGGER jobs_key_changed AFTER UPDATE OF state, ready, blocked ON jobs
WHEN new.key IS NOT NULL
 AND (old.ready = 0 AND old.blocked <> 4
   OR new.ready = 0 AND new.state <> 'processing' AND new.blocked <> 4) BEGIN
    INSERT INTO changed_keys (key) VALUES (new.key) ON CONFLICT DO NOTHING;
END;

-- Of a copy of a queue.
CREATE TRIGGER jobs_key_copied AFTER INSERT ON jobs WHEN new.blocked = 4 BEGIN
    INSERT INTO changed_keys (key) VALUES (new.key) ON CONFLICT DO NOTHING;
END;

-- The starts of queues with a rate, and of the jobs of each key that have one: a row for each claim, until
-- its window is over; see rates.sql.
CREATE TABLE starts (
    kind   TEXT    NOT NULL CHECK (kind IN ('queue', 'key')),
    owner  TEXT    NOT NULL,                        -- the queue or the key
    number INTEGER NOT NULL,                        -- how many starts of the owner came before; negative:
                                                    -- not numbered yet, in a copy of another database
    n      INTEGER NOT NULL CHECK (n >= 1),         -- starts of this claim
    at     INTEGER NOT NULL,                        -- never before that of the row before
    PRIMARY KEY (kind, owner, number)
) STRICT, WITHOUT ROWID;

-- The keys that have starts to remember, or ready jobs with a rate; see rates.sql.
CREATE TABLE rated_keys (
    key       TEXT PRIMARY KEY,
    window_ms INTEGER NOT NULL,   -- the longest interval of its jobs, for which their starts are remembered
    due       INTEGER,            -- when its rate allows the next start, or all starts are forgotten
    lane      INTEGER             -- of the first job of its line, if that waits for its rate
) STRICT, WITHOUT ROWID;

CREATE INDEX rated_keys_due ON rated_keys (due) WHERE due IS NOT NULL;
-- No start comes after the moment when the due time was set, unless the clock was set back.
CREATE INDEX rated_keys_set ON rated_keys (due - window_ms) WHERE due IS NOT NULL;
CREATE INDEX rated_keys_lanes ON rated_keys (lane) WHERE lane IS NOT NULL;

-- Of a copy of a queue, in which a claim or a ready job may have been the last change of the key.
CREATE TRIGGER rated_keys_copied AFTER INSERT ON rated_keys WHEN new.due IS NULL BEGIN
    INSERT INTO changed_keys (key) VALUES (new.key) ON CONFLICT DO NOTHING;
END;
