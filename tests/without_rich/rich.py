"""Stands before the package of this name, for programs that must not import it."""

raise ImportError(name=__name__)
