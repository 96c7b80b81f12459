"""The engine on a real PostgreSQL, with in-process partners that keep a write log of their own."""
