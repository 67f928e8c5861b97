"""Pure rules of the queue: no I/O and no clock, except that `times` alone reads one."""
