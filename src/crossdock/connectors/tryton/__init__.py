"""Tryton: declared in `declaration`, spoken to in `client`, `orders`, `shipping` and `feeds`, translated in `translate`."""
