"""MEXC: wire formats, requests, names. Pure."""
