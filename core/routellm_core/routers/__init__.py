"""Routers: one variant per file, found by name through `routellm_core.registry`."""
