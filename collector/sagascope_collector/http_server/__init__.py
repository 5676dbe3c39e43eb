"""HTTP servers: listening sockets, limits of their connections, and access to them."""
