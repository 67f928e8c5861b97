-- A database of schema 1 with a job of each kind, as the first version left it.
PRAGMA application_id = 1903519076;
PRAGMA user_version = 1;
PRAGMA journal_mode = wal;
BEGIN TRANSACTION;
CREATE TABLE attempts (
    job          INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    number       INTEGER NOT NULL CHECK (number >= 1),
    instance     TEXT    NOT NULL,
    worker       INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,      -- of the claim, then of the command once it has ended
    ended_at     INTEGER,
    outcome      TEXT CHECK (outcome IN
        ('exit', 'signal', 'timeout', 'oom', 'lost', 'spawn-error', 'cancelled', 'interrupted')),
    exit_code    INTEGER,
    signal       TEXT,
    error        TEXT,
    ran_ms       INTEGER,               -- by a clock that does not jump
    cpu_ms       INTEGER,               -- user and system
    peak_kib     INTEGER,               -- resident memory of its largest process
    stdout_bytes INTEGER NOT NULL DEFAULT 0, -- all bytes printed, kept or not
    stderr_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, number),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1,1,'i',1,1700000000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0);
INSERT INTO "attempts" VALUES(2,1,'i',1,1700000000000,1700000000000,'exit',0,NULL,NULL,NULL,NULL,NULL,0,0);
INSERT INTO "attempts" VALUES(3,1,'i',1,1700000000000,1700000000000,'exit',1,NULL,'exit 1',NULL,NULL,NULL,0,0);
INSERT INTO "attempts" VALUES(5,1,'i',1,1700000000000,1700000000000,'exit',1,NULL,'exit 1: no luck',NULL,NULL,NULL,0,0);
CREATE TABLE clock (
    boot_id   TEXT PRIMARY KEY,
    offset_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "clock" VALUES('b',5);
CREATE TABLE counts (
    queue TEXT    NOT NULL,
    label TEXT    NOT NULL,
    n     INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (queue, label)
) STRICT, WITHOUT ROWID;
INSERT INTO "counts" VALUES('default','failed',1);
INSERT INTO "counts" VALUES('default','pending',1);
INSERT INTO "counts" VALUES('default','processing',0);
INSERT INTO "counts" VALUES('default','scheduled',1);
INSERT INTO "counts" VALUES('q','cancelled',1);
INSERT INTO "counts" VALUES('q','completed',1);
INSERT INTO "counts" VALUES('q','dead',1);
INSERT INTO "counts" VALUES('q','pending',0);
INSERT INTO "counts" VALUES('q','processing',1);
CREATE TABLE instances (
    id                TEXT PRIMARY KEY,
    host              TEXT    NOT NULL,
    pid               INTEGER NOT NULL,
    version           TEXT    NOT NULL,
    started_at        INTEGER NOT NULL,
    stop_requested_at INTEGER,
    -- The settings that it got by a flag or a variable, which override the stored ones: a JSON
    -- object of the setting and the name of the flag or variable.
    overrides         TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(overrides))
) STRICT, WITHOUT ROWID;
INSERT INTO "instances" VALUES('i','host',10,'0.1.0',1700000000000,NULL,'{}');
CREATE TABLE jobs (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of enqueueing; never reused
    id                  TEXT    NOT NULL UNIQUE CHECK (length(id) BETWEEN 1 AND 64),
    queue               TEXT    NOT NULL CHECK (length(queue) BETWEEN 1 AND 64),
    priority            INTEGER NOT NULL,              -- higher starts first
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
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    -- What users see: the state, with `pending` refined.
    label TEXT NOT NULL GENERATED ALWAYS AS (
        CASE WHEN state <> 'pending' THEN state
             WHEN attempts > 0       THEN 'failed'
             WHEN ready = 0          THEN 'scheduled'
             ELSE 'pending' END) VIRTUAL,
    CHECK (ready = 0 OR state = 'pending'),
    CHECK (state <> 'pending' OR runs < 1000000000),   -- a claim adds one
    CHECK ((token IS NOT NULL) = (state = 'processing')),
    CHECK (cancel_requested_at IS NULL OR state = 'processing')
) STRICT;
INSERT INTO "jobs" VALUES(1,'processing','q',0,'true','{}','processing',0,1700000000000,0,2,1,77,NULL,NULL,1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(2,'completed','q',0,'true','{}','completed',0,1700000000000,0,2,1,NULL,NULL,NULL,1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(3,'dead','q',0,'true','{}','dead',0,1700000000000,1,2,1,NULL,NULL,'exit 1',1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(4,'cancelled','q',0,'true','{}','cancelled',0,1700000000000,0,2,0,NULL,NULL,'cancelled',1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(5,'failed','default',0,'exit 1','{}','pending',0,1700000002000,1,3,1,NULL,NULL,'exit 1: no luck',1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(6,'pending','default',3,'echo ''it''''s'' é
','{"env": {"A": "1"}}','pending',1,1700000000000,0,3,0,NULL,NULL,NULL,1700000000000,1700000000000);
INSERT INTO "jobs" VALUES(7,'scheduled','default',0,'true','{}','pending',0,1700003600000,0,3,0,NULL,NULL,NULL,1700000000000,1700000000000);
CREATE TABLE output (
    job      INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    stream   INTEGER NOT NULL CHECK (stream IN (1, 2)), -- 1 stdout or both together, 2 stderr
    position INTEGER NOT NULL CHECK (position >= 0),
    content  BLOB    NOT NULL,
    PRIMARY KEY (job, number, stream, position),
    FOREIGN KEY (job, number) REFERENCES attempts (job, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO "output" VALUES(5,1,1,0,X'6E6F206C75636B0A');
CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "settings" VALUES('workers','8',1700000000000);
CREATE TABLE workers (
    instance   TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    worker     INTEGER NOT NULL,
    pid        INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    PRIMARY KEY (instance, worker)
) STRICT, WITHOUT ROWID;
INSERT INTO "workers" VALUES('i',1,11,1700000000000);
CREATE INDEX attempts_completed ON attempts (ended_at) WHERE outcome = 'exit' AND exit_code = 0;
CREATE INDEX jobs_ready ON jobs (priority DESC, next_run_at, seq) WHERE ready = 1;
CREATE INDEX jobs_waiting ON jobs (next_run_at) WHERE state = 'pending' AND ready = 0;
CREATE INDEX jobs_by_state ON jobs (state, seq) WHERE state <> 'completed';
CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
    INSERT INTO counts (queue, label, n) VALUES (new.queue, new.label, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
    UPDATE counts SET n = n - 1 WHERE queue = old.queue AND label = old.label;
END;
CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, ready, attempts ON jobs
WHEN old.label <> new.label BEGIN
    UPDATE counts SET n = n - 1 WHERE queue = old.queue AND label = old.label;
    INSERT INTO counts (queue, label, n) VALUES (new.queue, new.label, 1)
        ON CONFLICT DO UPDATE SET n = n + 1;
END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',7);
COMMIT;
