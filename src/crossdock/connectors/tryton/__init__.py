"""Tryton: declared in `declaration`; spoken to in `client`, `orders`, `shipping`, `feeds`; pure in `translate`."""
