"""Fakes that klingel ships: real classes that pass the same suites as the real thing."""
