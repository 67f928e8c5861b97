-- The settings that a service got by a flag or a variable, which override the stored ones: a JSON
-- object of the setting and the name of the flag or variable.
ALTER TABLE instances ADD COLUMN overrides TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(overrides));
