"""What breaks an estate of real processes on purpose: each nemesis strikes, mends, and keeps its own log of it."""
