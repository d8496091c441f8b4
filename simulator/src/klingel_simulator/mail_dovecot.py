"""Debian's Dovecot, a real IMAP server: the installed one, else fetched by apt; no system is changed.

apt keeps lists, cache and downloads in a folder of its own then, and `dpkg-deb` unpacks there. The
programs look for each other under `/usr`; a mount namespace of their own shows them there what was
unpacked, so this needs root, or a kernel that gives namespaces to everybody.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

from klingel_simulator.debian import NotToBeHad, fetch_lists, run

PACKAGES = ("dovecot-core", "dovecot-imapd")
_READY_SECONDS = 20
_NOBODY = 65534

_CONFIG = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
ssl = {ssl}
disable_plaintext_auth = no
auth_mechanisms = plain login {mechanisms}
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
passdb {{
  driver = static
  args = password={password}
}}
{oauth}userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/home/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls_port}
  }}
}}
"""
_OAUTH = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {folder}/oauth2.conf
}}
"""


def find_dovecot(folder: Path) -> Path | None:
    """Return where Dovecot lies unpacked; None where it is installed.

    Args:
        folder: where it is unpacked when the machine has none.

    Raises:
        NotToBeHad: neither installed nor to be fetched.
    """
    if shutil.which("dovecot") or Path("/usr/sbin/dovecot").exists():
        return None
    root = folder / "dovecot"
    if not (root / "usr" / "lib" / "dovecot" / "imap").exists():
        _fetch(folder, root)
    return root


def _fetch(folder: Path, root: Path) -> None:
    own = fetch_lists("Dovecot", folder, tools=("apt-get", "dpkg-deb", "unshare"))
    run(["apt-get", *own, "download", *PACKAGES], "Dovecot", folder / "download")
    for package in PACKAGES:
        for file in (folder / "download").glob(f"{package}_*.deb"):
            run(["dpkg-deb", "-x", str(file), str(root)], "Dovecot", folder)


class Dovecot:
    """One server; everybody has a mailbox who knows the password.

    Args:
        root: where it lies unpacked; None where it is installed.
        folder: for its files; each step of the path must be open to other users.
        port: to listen at.
        tls_port: to listen at with TLS; 0 for none.
        password: of all mailboxes.
        tokeninfo_url: whom to ask about tokens; empty for no XOAUTH2.
        certificate: PEM files of certificate and key, for TLS.
    """

    def __init__(
        self,
        root: Path | None,
        folder: Path,
        port: int,
        *,
        tls_port: int = 0,
        password: str = "secret",  # noqa: S107 - of a stand-in
        tokeninfo_url: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.password = password
        self.port = port
        self.tls_port = tls_port
        self.folder = folder
        self.user = _NOBODY if os.geteuid() == 0 else os.geteuid()
        self._root = root
        self._tokeninfo_url = tokeninfo_url
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it greets; raises NotToBeHad when it does not."""
        for name in ("run", "state", "home"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        config = self.folder / "dovecot.conf"
        config.write_text(self._config(), encoding="utf-8")
        self._process = subprocess.Popen(  # noqa: S603 - commands are this module's own
            self._command(config),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not self._greets():
            self.stop()
            raise NotToBeHad("Dovecot does not start here")

    def stop(self) -> None:
        """End it with all its children."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def box(self, username: str) -> "DovecotBox":
        """Return the mailbox of somebody."""
        return DovecotBox(self, username)

    def give(self, path: Path) -> None:
        """Make a file or folder that of the mailboxes' user."""
        if os.geteuid() == 0:
            os.chown(path, self.user, self.user)

    def _config(self) -> str:
        ssl = "no"
        if self._certificate is not None:
            ssl = f"yes\nssl_cert = <{self._certificate[0]}\nssl_key = <{self._certificate[1]}"
        oauth = ""
        if self._tokeninfo_url:
            oauth = _OAUTH.format(folder=self.folder)
            (self.folder / "oauth2.conf").write_text(
                f"tokeninfo_url = {self._tokeninfo_url}/tokeninfo?access_token=\n"
                "introspection_mode = auth\n"
                "username_attribute = email\n",
                encoding="utf-8",
            )
        return _CONFIG.format(
            folder=self.folder,
            ssl=ssl,
            mechanisms="xoauth2" if oauth else "",
            user="nobody" if self.user == _NOBODY else self.user,
            group="nogroup" if self.user == _NOBODY else os.getegid(),
            password=self.password,
            oauth=oauth,
            port=self.port,
            tls_port=self.tls_port,
        )

    def _command(self, config: Path) -> list[str]:
        run = ["-F", "-c", str(config)]
        if self._root is None:
            return [shutil.which("dovecot") or "/usr/sbin/dovecot", *run]
        shown = " && ".join(
            f"mount -t overlay overlay -o lowerdir={self._root}{each}:{each} {each}"
            for each in ("/usr/lib", "/usr/bin")
        )
        script = f'{shown} && exec "$0" "$@"'
        space = ["unshare", "--mount"]
        if os.geteuid() != 0:
            space += ["--user", "--map-root-user"]
        return [*space, "sh", "-c", script, str(self._root / "usr/sbin/dovecot"), *run]

    def _greets(self) -> bool:
        until = time.monotonic() + _READY_SECONDS
        while time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=_READY_SECONDS) as to,
            ):
                if to.recv(4) == b"* OK":
                    return True
            time.sleep(0.05)
        return False


class DovecotBox:
    """A mailbox; mails are put into its Maildir.

    Args:
        server: that has it.
        username: of the login.
    """

    def __init__(self, server: Dovecot, username: str) -> None:
        self.username = username
        self.port = server.port
        self._server = server
        self._home = server.folder / "home" / username
        self._delivered = 0
        self._make("Maildir")

    def deliver(
        self, content: bytes, folder: str = "INBOX", received_at: datetime | None = None
    ) -> None:
        """Put a mail into a folder; whoever idles hears of it."""
        place = self._make("Maildir" if folder == "INBOX" else f"Maildir/.{folder}")
        self._delivered += 1
        name = f"{1_700_000_000 + self._delivered}.M{self._delivered}.stand-in"
        waiting = place / "tmp" / name
        waiting.write_bytes(content)
        if received_at is not None:
            os.utime(waiting, (received_at.timestamp(), received_at.timestamp()))
        self._server.give(waiting)
        waiting.rename(place / "new" / name)

    def count_anew(self, validity: int) -> None:
        """Forget all UIDs of the inbox: under another UIDVALIDITY each mail gets a new one."""
        place = self._home / "Maildir"
        for each in place.glob("dovecot*"):
            if each.is_file():
                each.unlink()
        uids = place / "dovecot-uidlist"
        uids.write_text(f"3 V{validity} N1\n", encoding="ascii")
        self._server.give(uids)

    def marked(self) -> list[str]:
        """Return the names of the inbox's mails that bear flags: none, if nobody wrote."""
        read = self._home / "Maildir" / "cur"
        return sorted(each.name for each in read.iterdir() if not each.name.endswith(":2,"))

    def _make(self, name: str) -> Path:
        place = self._home / name
        for part in ("cur", "new", "tmp"):
            (place / part).mkdir(parents=True, exist_ok=True)
            self._server.give(place / part)
        self._server.give(place)
        self._server.give(self._home)
        return place
