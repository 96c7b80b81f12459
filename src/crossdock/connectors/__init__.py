"""The connectors that come with Crossdock. Each is declared in its own package; none knows another."""
