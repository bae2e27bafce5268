"""Transport: from ASGI to a handler's call and from its reply back. Knows no service and no database table."""
