"""What can go wrong with the local stack.

LocalStackError        one clear sentence for the person at the terminal
├── SettingError       a setting has a value that is not understood
├── FetchError         the network, the repository or a checksum
├── MissingError       disk, memory, Java or a port that this machine lacks
└── StartError         a server died or did not answer in time
"""


class LocalStackError(Exception):
    """Base of all; its text is one sentence that says what is wrong and what would be right."""


class SettingError(LocalStackError):
    """A setting is unknown or has a value outside its set."""


class FetchError(LocalStackError):
    """An artifact could not be fetched, or is not the one that was pinned."""


class MissingError(LocalStackError):
    """The machine lacks something that the stack needs."""


class StartError(LocalStackError):
    """A server ended or stayed silent while it should have become ready."""
