"""The two things that can keep a test from passing without the project being at fault."""


class Unmet(Exception):
    """The machine lacks something that the laboratory needs; the text is for its administrator."""


class NotInTime(AssertionError):
    """Something that was promised did not happen before the deadline."""
