"""What the stand-ins of the demo remember is bounded."""

from datetime import UTC, datetime

from klingel_simulator.mail_imap import Folder
from klingel_simulator.newest import Newest
from klingel_simulator.x_server import XLimits, XServer

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_what_was_set_first_goes_first():
    known = Newest(2)
    known["a"] = known["b"] = 1
    known["a"] = 2
    known["c"] = 3
    assert dict(known) == {"b": 1, "c": 3}


def test_a_mailbox_keeps_its_newest_mails_and_never_gives_a_uid_twice():
    folder = Folder(most=2)
    assert [folder.add(b"x") for _ in range(5)] == [1, 2, 3, 4, 5]
    assert [each.uid for each in folder.mails] == [4, 5]


def test_x_forgets_old_posts_with_their_bills():
    server = XServer(lambda: NOW, XLimits(posts=3))
    for number in range(10):
        server.say({"id": str(number), "text": "t"}, {"id": f"u{number}"})
        server.delete(str(number - 5))
        server._bill([str(number)])
    assert [*server.posts] == ["7", "8", "9"]
    assert [len(each) for each in (server.users, server.actions, server.billed)] == [3, 3, 3]
