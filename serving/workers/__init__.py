"""One process, or several that share a port: what they know of each other, and how they end."""
