-- Runs that completed their job, by the time of their end: `status` counts those of the last minute.
CREATE INDEX attempts_completed ON attempts (ended_at) WHERE outcome = 'exit' AND exit_code = 0;
