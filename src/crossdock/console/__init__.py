"""The operations console: server-rendered pages over the read models, for people who keep orders moving."""
