"""The same saga on Crossdock's engine and on those that a user would take instead: `make bench-peers`."""
