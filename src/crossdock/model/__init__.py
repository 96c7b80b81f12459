"""What is true: canonical documents, facts, events and steps as typed, immutable values. Pure: no I/O, no clock."""
