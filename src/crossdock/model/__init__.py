"""What is true: canonical documents, facts, events and steps as typed, immutable values. Pure: no I/O, no clock.

Documents are trees that never change, so none can be part of a reference cycle: they are left out of the collector's
rounds (`gc=False`), which would otherwise visit each of a hundred thousand products again and again.
"""
