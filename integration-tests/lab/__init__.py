"""A laboratory with real systemds: every test gets a freshly booted host of its own."""
