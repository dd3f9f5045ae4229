"""A small model of Disnix: its operations on machines, their order, and its reaction to a failed step. If the real
one is installed, the same tests use that."""
