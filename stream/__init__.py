"""The stream processor: takes readings in, locates trackables, commits fixes exactly once."""
