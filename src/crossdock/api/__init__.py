"""The governed HTTP API: versioned, scoped, described by OpenAPI 3.1, with RFC 9457 errors."""
