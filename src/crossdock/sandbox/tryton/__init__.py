"""The real Tryton as the demonstration's ERP: installed apart, run as a child process, seen only over its own wire."""
