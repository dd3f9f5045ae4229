"""A small model of Disnix: what it does to which machine, in which order, and what it does when a
step fails. Where the real one is installed, the same tests run through that."""
