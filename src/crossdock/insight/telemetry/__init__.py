"""How Crossdock is watched: structured logs, Prometheus metrics, OpenTelemetry traces. Local or off by default."""
