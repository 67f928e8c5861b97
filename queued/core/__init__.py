"""The rules of the queue, without I/O. Only the module `times` reads a clock."""
