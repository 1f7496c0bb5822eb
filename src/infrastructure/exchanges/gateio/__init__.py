"""Gate.io: wire formats, requests, sequence rules. Pure."""
