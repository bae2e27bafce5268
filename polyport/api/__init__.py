"""The APIs, one folder for each OpenStack service: decode, call the engine, view."""
