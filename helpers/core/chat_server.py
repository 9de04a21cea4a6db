"""The chat notebook as a web page: Voilà, closed against what a visitor might try.

    notebook --Voilà--> page (no code in it) --websocket--> Gate (core/chat_gate.py) --> the visitor's own kernel (core/chat_kernels.py)

A visitor may look at the page, use its widgets, and nothing else:

| a visitor sends | what happens |
|---|---|
| code to run (`execute_request`), completion, inspection, debugging, a shutdown | thrown away before it reaches a kernel |
| a new widget of their own (`comm_open`) | thrown away; only the page's question for the state of its widgets passes |
| a request for a file, the notebook's source, the contents API | 404; the page needs no file of the machine |
| another template by `?template=` | ignored; of themes there are `light` and `dark` |
| a request with a foreign Host or Origin | refused, so that a page elsewhere cannot reach a server on this machine |
| a visit when all kernels are taken | a page that says so, 503 with Retry-After |
| a message larger than `MESSAGE_BYTES` | the connection is closed |

And of what a kernel says, a visitor is told what the page's widgets show. What code printed, its warnings, its tracebacks and the code
itself stay here; a page that could not be made says so in a sentence, and the terminal of whoever serves it says why.

On 127.0.0.1 everyone at this machine may come in; any other address asks for a token.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tornado.web
from jupyter_server import DEFAULT_STATIC_FILES_PATH
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import FileFindHandler, JupyterHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyterlab_server.themes_handler import ThemesHandler
from nbformat import NotebookNode
from traitlets.config import Config
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.voila_identity_provider import VoilaLoginHandler

from helpers.core.chat_gate import Gate
from helpers.core.chat_host import HostProcess
from helpers.core.chat_kernels import TooManyVisitors, VisitorKernels, opened_in_this_visit
from helpers.core.errors import InputError, ResourceError
from helpers.core.processes import port_is_free

PAGE = Path(__file__).with_name("chat_page")
# A picture may have 20 MB. Base64 makes four bytes of three; the chat itself says what is too large, in a sentence.
MESSAGE_BYTES = 32 * 2**20
RETRY_SECONDS = 10
PING_MILLISECONDS = 30_000
START_SECONDS = 180  # for a kernel to start, on a machine that does other things too
SHORT_FOLDER = 40  # characters; systems allow a socket some hundred in all
HIDDEN_TAG = "voila-hide"
TITLE = "CaptionLab: chat about a picture · 看图对话"
# A kernel's state, its messages, its end; scripts, style sheets and widgets.
NEEDED = (KernelHandler, VoilaKernelWebsocketHandler, VoilaShutdownKernelHandler, MultiStaticFileHandler, ThemesHandler, FileFindHandler)
HEARTBEAT = "voila_heartbeat()"
FAILED = "The chat could not be opened: tell whoever serves this page, whose terminal says why. 聊天无法打开：请告诉提供本页的人，原因写在其终端里。"
# Nothing from elsewhere: Voilà's page names style sheets and MathJax on content networks, which this kit does without.
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
          "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' ws: wss:; object-src 'none'; "
          "base-uri 'none'; form-action 'self'; frame-ancestors 'none'")


@dataclass(frozen=True)
class Settings:
    """What the host decides.  port: 0 takes a free one.  token: needed from visitors; None makes one where `ip` is not this machine.
    visitors: kernels at a time.  idle_minutes: a kernel ends that was not used for so long, also with its page open.
    alone_seconds: a kernel ends that long after its page was last connected; one whose page says that it is left ends at once.  share: one set of models for all visitors, else one for each."""

    notebook: Path
    ip: str = "127.0.0.1"
    port: int = 8866
    token: str | None = None
    visitors: int = 8
    idle_minutes: float = 30.0
    alone_seconds: float = 120.0
    share: bool = True


def is_loopback(ip: str) -> bool:
    """Whether only this machine reaches the address. Raises InputError when it is none."""
    try:
        return ip == "localhost" or ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise InputError(f"{ip!r} is no IP address to listen on; give 127.0.0.1 for this machine alone, or 0.0.0.0 for all that reach it.") from None


class PageHandler(TornadoVoilaHandler):
    """The page. One address, no paths below it."""

    async def prepare(self) -> None:
        """After the visitor is known: no token stays in the address, and of the query only a known theme is heeded."""
        await super().prepare()
        if self.current_user and "token" in self.request.query_arguments:
            self.redirect(self.base_url)
            return
        theme = self.get_query_argument("theme", "")
        self.request.arguments = {"theme": [theme.encode()]} if theme in ("light", "dark") else {}

    @tornado.web.authenticated
    async def get(self, path: str | None = None) -> None:
        """Start a kernel and send the page as the notebook runs in it."""
        if path:
            raise tornado.web.HTTPError(404)
        _ = self.xsrf_token  # sets the cookie without which the page may not say that it is being left, and its place would stay taken
        kernels = opened_in_this_visit()
        try:
            async for html in self.get_generator():
                self.write(html)
                # Voilà beats as long as nothing comes, also for a kernel that will never come.
                if HEARTBEAT in html and any(kernel not in self.kernel_manager for kernel in kernels):
                    self.log.error("A visitor's kernel ended before the page was made.")
                    self.write(self.render_template("chat_failed.html.j2", sentence=FAILED))
                    return
                self.flush()
        except TooManyVisitors:
            self.set_status(503)
            self.set_header("Retry-After", str(RETRY_SECONDS))
            self.finish(self.render_template("chat_full.html.j2", seconds=RETRY_SECONDS))


class LoginHandler(JupyterHandler):
    """Where a visitor without the token is sent: asks for it. The form leads back to the page, which looks at it and keeps it as a cookie."""

    @allow_unauthenticated
    def get(self) -> None:
        """The form, which also says where a token was wrong."""
        template = self.settings["voila_jinja2_env"].get_template("chat_login.html.j2")
        self.finish(template.render(page=self.base_url, wrong="token=" in self.get_query_argument("next", "")))


class StyleHandler(TemplateStaticFileHandler):
    """Scripts and style sheets of Voilà's templates, named TEMPLATE/static/FILE."""

    def parse_url_path(self, url_path: str) -> str:
        """Voilà's own fails at any other address, with a traceback in the log."""
        template, _, file = url_path.partition("/static/")
        if not template.isalnum() or not file or ".." in file:
            raise tornado.web.HTTPError(404)
        return super().parse_url_path(url_path)


class ChatServer(Voila):
    """Voilà with our page, our gate, and only those of its handlers that the page needs; at any other address is nothing."""

    say: Callable[[str], None] = staticmethod(print)

    def setup_template_dirs(self) -> None:
        """Our templates first: `index.html.j2` adds to Voilà's what is shown when a conversation has ended."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(PAGE))

    def init_handlers(self) -> list:
        """Voilà's handlers that the page needs, and in place of three of them our own. None serves files of the notebook's folder."""
        ours = {TornadoVoilaHandler: PageHandler, TemplateStaticFileHandler: StyleHandler, VoilaLoginHandler: LoginHandler}
        return [(address, ours.get(kind, kind), *options) for address, kind, *options in super().init_handlers() if kind in NEEDED or kind in ours]

    def launch_browser(self) -> None:
        """Voilà calls this once the port is open. We open nothing and say where the page is."""
        host = self.ip if is_loopback(self.ip) else socket.gethostname() if self.ip in ("0.0.0.0", "::") else self.ip
        token = f"?token={self.token}" if self.token else ""
        self.say(f"the chat is at http://{f'[{host}]' if ':' in host else host}:{self.port}/{token}")
        if token and not is_loopback(self.ip):
            self.say("whoever has this address can use it; the connection is not encrypted")


def only_for_visitors(handler: JupyterHandler, notebook: NotebookNode, cwd: str) -> NotebookNode:
    """The notebook without the cells tagged `voila-hide`, before any of them runs: a visitor does not wait for a lesson's cells.
    Voilà calls this for each visit (its `prelaunch_hook`)."""
    notebook.metadata["title"] = TITLE
    notebook.cells = [cell for cell in notebook.cells if HIDDEN_TAG not in cell.metadata.get("tags", ())]
    return notebook


def configuration(settings: Settings, scratch: str) -> Config:
    """The configuration of the server, in Jupyter's own terms. scratch: folder for the visitors' temporary files."""
    local = is_loopback(settings.ip)
    token = settings.token if settings.token is not None else "" if local else secrets.token_urlsafe(24)
    if not local and not token:
        raise InputError(f"{settings.ip} is reached from other machines: give a token, or none to have one made.")
    config = Config()
    config.Voila.ip = settings.ip
    config.Voila.port = settings.port
    config.Voila.token = token
    config.Voila.open_browser = True
    config.Voila.log_level = logging.ERROR
    config.Voila.kernel_websocket_connection_class = Gate
    config.Voila.config_file_paths = []
    config.Voila.connection_dir_root = scratch
    config.Voila.tornado_settings = {
        "websocket_max_message_size": MESSAGE_BYTES,
        # On this machine alone, a request names this machine: this is what stops a page elsewhere that points its name here.
        "allow_remote_access": not local,
        "local_hostnames": ["localhost"],
        "static_path": DEFAULT_STATIC_FILES_PATH,  # Jupyter's pages for errors look for their icon there
        "ws_ping_interval": PING_MILLISECONDS,
        "ws_ping_timeout": PING_MILLISECONDS,
        "headers": {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"},
    }
    config.VoilaConfiguration.strip_sources = True
    config.VoilaConfiguration.show_tracebacks = False
    config.VoilaConfiguration.allow_template_override = "NO"
    config.VoilaConfiguration.file_allowlist = []
    config.VoilaConfiguration.prelaunch_hook = only_for_visitors
    config.VoilaExecutor.startup_timeout = START_SECONDS
    config.VoilaExecutor.cell_error_instruction = FAILED
    config.VoilaConfiguration.multi_kernel_manager_class = VisitorKernels
    config.VisitorKernels.limit = settings.visitors
    config.VisitorKernels.alone_timeout = settings.alone_seconds
    config.VisitorKernels.scratch = scratch
    config.VisitorKernels.allow_tracebacks = False
    config.VisitorKernels.cull_idle_timeout = max(1, round(settings.idle_minutes * 60))
    config.VisitorKernels.cull_interval = max(1, round(min(settings.idle_minutes * 60, settings.alone_seconds, 60) / 4))
    config.VisitorKernels.cull_connected = True
    if sys.platform != "win32" and len(scratch) <= SHORT_FOLDER:
        config.KernelManager.transport = "ipc"  # sockets in a folder that is ours alone, where others at this machine find no port to try
    # A kernel that dies has lost its conversation; one started again would answer a page that it does not know.
    config.KernelRestarter.restart_limit = 0
    return config


def serve(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Serve the chat until Ctrl-C or SIGTERM; leaves no kernel and no file behind.

    Raises: InputError for an address or notebook that cannot be used, ResourceError when the port is taken.
    """
    if not settings.notebook.is_file():
        raise InputError(f"{settings.notebook} is not there, so there is nothing to serve.")
    with tempfile.TemporaryDirectory(prefix="captionlab-page-", ignore_cleanup_errors=True) as scratch, ExitStack() as running:
        config = configuration(settings, scratch)
        if settings.port and not port_is_free(settings.ip.replace("localhost", "127.0.0.1"), settings.port):
            raise ResourceError(f"Port {settings.port} of {settings.ip} is taken; end what uses it, or choose another with --port.")
        if not settings.port:
            with socket.create_server((settings.ip, 0)) as free:
                config.Voila.port = free.getsockname()[1]
        if settings.share:
            config.VisitorKernels.environment = running.enter_context(HostProcess(scratch)).environment
        server = ChatServer(config=config, notebook_path=str(settings.notebook.resolve()))
        server.say = say
        server.initialize([])
        server.start()
