"""What passes between a page of the chat and its visitor's kernel: what widgets need, in both directions.

    page --websocket--> Gate.handle_incoming_message --> kernel        only messages that a widget of the page sends
    page <--websocket-- Gate.handle_outgoing_message <-- kernel        only what a widget of the page shows

To the server's log go the kind of a message that was thrown away and nothing of what it said.
"""

from __future__ import annotations

import tornado.web
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

MESSAGE_PARTS = 64
PROTOCOL = "v1.kernel.websocket.jupyter.org"
# What widgets need. Voilà lets a page open comms of any kind; ours asks for the state of the widgets, and that is all.
ALLOWED_MESSAGES = ("comm_msg", "comm_close", "comm_info_request", "kernel_info_request")
ALLOWED_COMMS = ("jupyter.widget.control",)
TOLD_MESSAGES = ("comm_open", "comm_msg", "comm_close", "comm_info_reply", "kernel_info_reply", "status")


class Gate(ZMQChannelsWebsocketConnection):
    """Between a page and its kernel: lets through what widgets need."""

    async def prepare(self) -> None:
        """Admit pages that speak version 1 of the protocol, as Voilà's does. In the older one, a single large reply from a kernel
        sends Voilà 0.5's handler into a loop that never ends, for all visitors."""
        asked = self.websocket_handler.request.headers.get("Sec-WebSocket-Protocol", "")
        if PROTOCOL not in [name.strip() for name in asked.split(",")]:
            raise tornado.web.HTTPError(400, "the protocol is not spoken here")
        await super().prepare()

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Pass a message on, or throw it away."""
        if self.allows(incoming_msg):
            super().handle_incoming_message(incoming_msg)

    def allows(self, incoming_msg: str | bytes) -> bool:
        """Whether a message is one that a page may send."""
        try:
            # The message begins with the number of its parts, which Jupyter believes: a false one would keep it counting for ever.
            if not 6 <= int.from_bytes(incoming_msg[:8], "little") <= MESSAGE_PARTS:
                raise ValueError
            channel, parts = deserialize_msg_from_ws_v1(incoming_msg)
            header, content = (self.session.unpack(parts[n]) for n in (0, 3))
            kind = header["msg_type"]
            allowed = channel == "shell" and (kind in ALLOWED_MESSAGES or kind == "comm_open" and content["target_name"] in ALLOWED_COMMS)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            self.log.warning("A visitor sent what is no message: %s", type(error).__name__)
            return False
        if not allowed:
            self.log.warning("A visitor sent %r on %r, which is not for visitors: thrown away.", kind, channel)
        return allowed

    def handle_outgoing_message(self, stream: str, outgoing_msg: list) -> None:
        """Tell the page what its widgets need; printed text and tracebacks, which name code and folders, are not among it."""
        _, parts = self.session.feed_identities(outgoing_msg)
        if self.session.unpack(parts[1])["msg_type"] in TOLD_MESSAGES:
            super().handle_outgoing_message(stream, outgoing_msg)

    def write_stderr(self, error_message: str, parent_header: dict) -> None:
        """What Jupyter would print on the page, when a kernel sends too fast, is for the server's log."""
        self.log.warning(error_message)
