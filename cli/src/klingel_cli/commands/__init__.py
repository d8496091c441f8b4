"""One module a command; each shows and asks, the libraries decide."""
