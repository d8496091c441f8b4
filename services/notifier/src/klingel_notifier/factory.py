"""From a target of a brand file to its sender: the place where addresses and secrets are used."""

import aiohttp

from klingel.clock import Clock
from klingel.config.escalations import Target
from klingel.settings import NotifierSettings
from klingel_notifier.addresses import Addresses, variable
from klingel_notifier.mail import MailServer, SmtpSender
from klingel_notifier.senders import (
    Sender,
    alertmanager_sender,
    checked_url,
    slack_sender,
    webhook_sender,
)
from klingel_notifier.signing import secret_of
from klingel_notifier.targets import Unset


class Senders:
    """Makes senders.

    Args:
        addresses: of the targets.
        settings: of the notifier.
        session: for all that speaks HTTP.
        clock: time.
    """

    def __init__(
        self,
        addresses: Addresses,
        settings: NotifierSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._addresses = addresses
        self._settings = settings
        self._session = session
        self._clock = clock

    def build(self, target: Target) -> Sender:
        """Return the sender of a target.

        Raises:
            Unset: a setting is missing or has no meaning; the sentence names it.
        """
        if target.kind == "email":
            return self._mail(target)
        url = self._url(target)
        seconds = self._settings.timeout_seconds
        if target.kind == "slack":
            return slack_sender(self._session, url, clock=self._clock, timeout_seconds=seconds)
        if target.kind == "alertmanager":
            return alertmanager_sender(
                self._session, url, clock=self._clock, timeout_seconds=seconds
            )
        return webhook_sender(
            self._session, url, self._secret(target), clock=self._clock, timeout_seconds=seconds
        )

    def _value(self, setting: str | None, what: str) -> tuple[str, str]:
        if setting is None:
            raise Unset(f"the brand file names no setting of its {what}")
        value = self._addresses.find(setting)
        if value is None:
            raise Unset(f"{variable(setting)} is not set")
        return setting, value

    def _url(self, target: Target) -> str:
        setting, value = self._value(target.url_setting, "address")
        try:
            return checked_url(value)
        except ValueError as error:
            raise Unset(f"{variable(setting)} is no address: {error}") from None

    def _secret(self, target: Target) -> bytes:
        setting, value = self._value(target.secret_setting, "secret")
        try:
            return secret_of(value)
        except ValueError as error:
            raise Unset(f"{variable(setting)} is no secret: {error}") from None

    def _mail(self, target: Target) -> Sender:
        settings = self._settings
        if settings.smtp_host is None:
            raise Unset("KLINGEL_NOTIFIER__SMTP_HOST is not set")
        if not target.to:
            raise Unset("the brand file names no recipient")
        password = settings.smtp_password
        server = MailServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            sender=settings.smtp_from,
            username=settings.smtp_username,
            password=password.get_secret_value() if password else None,
            ca_certs=settings.smtp_ca_certs,
            timeout_seconds=settings.timeout_seconds,
        )
        return SmtpSender(server, target.to)
