"""Crossdock: the integration backbone for distributors."""
