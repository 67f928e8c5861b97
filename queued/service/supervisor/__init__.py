"""The supervisor process: forks, watches and restarts the other two, talks to systemd."""
