"""The batch protocol, written once: fates, guard, ledger, dead letters, marks and ports.

No client library is imported here. The order is always the same: outputs, state that remembers
them and the input position are committed as one, and local state follows.
"""
