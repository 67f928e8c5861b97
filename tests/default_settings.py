"""The settings of a service that is given none."""

from queued.core.settings import resolve
from queued.core.settings_in_force import settings_of

DEFAULTS = settings_of(resolve(flags={}, environment={}, stored={}, file={}))
