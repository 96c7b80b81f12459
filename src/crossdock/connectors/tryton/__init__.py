"""Tryton: declared in `declaration`; spoken to in `client`, `orders`, `shipping`, `invoicing`, `payments`, `feeds`;
pure in `translate`."""
