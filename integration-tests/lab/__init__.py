"""A laboratory with real systemds: every test boots a host of its own."""
