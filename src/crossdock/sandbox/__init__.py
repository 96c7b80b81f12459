"""Simulated partner systems: separate processes with their own storage, write log and fault plan."""
