"""One module for each engine: `python -m bench.peers.runners.<engine> <address> <directory>`."""
