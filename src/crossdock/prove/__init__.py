"""The proof rig: scenarios from a seed against the real engine, and checkers that judge what came of it."""
