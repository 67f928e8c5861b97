"""The warden: kills what is left of an instance when its lease ends or its processes are gone."""
