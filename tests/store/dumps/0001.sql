-- A job of each kind, and what belongs to it, in the tables of schema 1 as version 1.0.0 left them.
INSERT INTO lanes VALUES(1,'q','');
INSERT INTO jobs
    (seq, id, queue, priority, lane, command, options, state, ready, next_run_at, attempts,
     max_retries, runs, token, cancel_requested_at, last_error, created_at, updated_at)
VALUES
    (1,'processing','q',0,1,'true','{}','processing',0,1700000000000,0,2,1,77,NULL,NULL,1700000000000,1700000000000),
    (2,'completed','q',0,1,'true','{}','completed',0,1700000000000,0,2,1,NULL,NULL,NULL,1700000000000,1700000000000),
    (3,'dead','q',0,1,'true','{}','dead',0,1700000000000,1,2,1,NULL,NULL,'exit 1',1700000000000,1700000000000),
    (4,'cancelled','q',0,1,'true','{}','cancelled',0,1700000000000,0,2,0,NULL,NULL,'cancelled',1700000000000,1700000000000),
    (5,'failed','default',0,0,'exit 1','{}','pending',0,1700000002000,1,3,1,NULL,NULL,'exit 1: no luck',1700000000000,1700000000000),
    (6,'pending','default',3,0,'echo ''it''''s'' é
','{"env": {"A": "1"}}','pending',1,1700000000000,0,3,0,NULL,NULL,NULL,1700000000000,1700000000000),
    (7,'scheduled','default',0,0,'true','{}','pending',0,1700003600000,0,3,0,NULL,NULL,NULL,1700000000000,1700000000000);
INSERT INTO jobs
    (seq, id, queue, priority, lane, command, options, state, ready, next_run_at, attempts,
     max_retries, runs, blocked, created_at, updated_at)
VALUES
    (8,'held','default',0,0,'true','{}','pending',0,1700000000000,0,3,0,1,1700000000000,1700000000000),
    (9,'blocked','default',0,0,'true','{}','pending',0,1700000000000,0,3,0,2,1700000000000,1700000000000);
INSERT INTO dependencies (on_job, job, condition, status) VALUES (7,9,'after','waiting');
INSERT INTO attempts
    (job, number, instance, worker, started_at, ended_at, outcome, exit_code, signal, error, ran_ms,
     cpu_ms, peak_kib, stdout_bytes, stderr_bytes, deferrals)
VALUES
    (1,1,'i',1,1700000000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0),
    (2,1,'i',1,1700000000000,1700000000000,'exit',0,NULL,NULL,NULL,NULL,NULL,0,0,0),
    (3,1,'i',1,1700000000000,1700000000000,'exit',1,NULL,'exit 1',NULL,NULL,NULL,0,0,0),
    (5,1,'i',1,1700000000000,1700000000000,'exit',1,NULL,'exit 1: no luck',NULL,NULL,NULL,0,0,0);
INSERT INTO output VALUES(5,1,1,0,X'6E6F206C75636B0A');
INSERT INTO clock VALUES('b',5);
INSERT INTO instances
    (id, host, pid, version, started_at, stop_requested_at, overrides, labels)
VALUES
    ('i','host',10,'0.1.0',1700000000000,NULL,'{}','gpu,host:host');
INSERT INTO settings VALUES('workers','8',1700000000000);
INSERT INTO workers VALUES('i',1,11,1700000000000);
