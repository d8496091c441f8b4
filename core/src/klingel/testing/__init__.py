"""Shipped fakes; each passes the suite that the real thing passes."""
