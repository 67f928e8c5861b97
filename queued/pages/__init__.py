"""Makes pages and completions from the usage texts and the settings. No program imports this."""
