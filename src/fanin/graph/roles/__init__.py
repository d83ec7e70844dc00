"""From facts to roles: what every parameter is."""
