"""Acme WMS: declared in `declaration`, spoken to in `client`, translated in `translate`."""
