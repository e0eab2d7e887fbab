"""Asking a server over HTTP: keys, retries, budget, and a store of every answer."""
