"""Two reasons for a failed test that are not the project's fault."""


class Unmet(Exception):
    """The machine lacks a prerequisite of the laboratory; the text is for its administrator."""


class NotInTime(AssertionError):
    """An expected event did not happen before the deadline."""
