"""The only caller of subprocess: argv lists, a small environment, limits, cancellation, and no child that outlives us.

Every child is led by `setpriv --pdeathsig KILL`: the kernel kills it when we die, even by kill -9. The kernel ties that
signal to the *thread* that forked, not to the process, so all children are forked by one thread that lives as long as
the interpreter; otherwise the end of a pool's thread would kill a daemon that another thread still uses. The signal
is not inherited by grandchildren: what starts daemons of its own, as virt-v2v does, is run `contained`. Every
child also leads its own session, so that stopping it takes whatever it started.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.domain.errors import ToolFailed, ToolMissing, ToolTimedOut
from app.output import Capture, Lines, Tail

MIB = 1 << 20
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0  # what a tool gets between SIGTERM and SIGKILL

_PASSED_ON = frozenset({"PATH", "HOME", "USER", "TMPDIR", "TZ", "XDG_RUNTIME_DIR", "VIRTIO_WIN"})
_PASSED_ON_PREFIXES = ("LIBGUESTFS_", "VIRT_")
_PACKAGES = {
    "bsdtar": "libarchive-tools",
    "guestfish": "libguestfs-tools",
    "nbdkit": "nbdkit",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "virsh": "libvirt-clients",
    "virt-v2v": "virt-v2v",
    "virt-v2v-in-place": "virt-v2v",
    "virt-v2v-inspector": "virt-v2v",
}

_CONTAINED = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--")

_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")


def _renew_forker() -> None:
    """A forked copy of this process has no such thread."""
    global _forker
    _forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")


os.register_at_fork(after_in_child=_renew_forker)


@dataclass(frozen=True)
class Limits:
    """What one child may use: address space in bytes, CPU time in seconds. None: no limit."""

    address_space: int | None = None
    cpu_seconds: int | None = None


@dataclass(frozen=True)
class Completed:
    """A tool that ended as expected. `stdout` is empty when its lines went to `on_line`."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr_tail: str

    @property
    def text(self) -> str:
        """stdout as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment handed to a child: an allow-list, so that no setting or secret of ours leaks, plus `extra`."""
    kept = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    return {"PATH": os.defpath, **kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: float | None = None,
    cancel: Callable[[], None] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    limits: Limits | None = None,
    on_line: Callable[[str], None] | None = None,
    stdout_limit: int = 16 * MIB,
    ok: Collection[int] = (0,),
    contained: bool = False,
) -> Completed:
    """Run a tool to its end and return what it printed.

    `cancel` is called five times a second in the caller's thread and stops the tool by raising (Cancelled, Paused,
    Parked). `on_line` gets each line of stdout, without its newline, in the caller's thread too. `env` is added to
    the allow-list. Whatever raises, the tool and all it started are gone when this returns.
    `contained`: for a tool that leaves daemons behind when it is killed. As root it gets a PID namespace of its own:
    the kernel ends all in it together with the tool, even when it is we who are killed.
    Raises ToolMissing, ToolTimedOut (after `timeout` seconds), and ToolFailed for an exit code that is not in `ok` or
    more than `stdout_limit` bytes of output.
    """
    words = [os.fspath(word) for word in argv]
    err = Tail()
    out = Lines(on_line) if on_line else Capture(words[0], stdout_limit)
    with _input(stdin) as source:
        child = _fork(words, env=env, cwd=cwd, limits=limits, stdin=source, stdout=subprocess.PIPE, contained=contained)
    try:
        _pump(child, words, out, err, cancel, timeout)
    finally:
        _stop(child, GRACE_SECONDS)
    out.close()
    if child.returncode not in ok:
        raise _failed(words, child.returncode, err.text())
    return Completed(tuple(words), child.returncode, out.kept(), err.text())


class Process:
    """A running daemon, made by `spawn`; any thread may ask after it or stop it."""

    def __init__(self, argv: Sequence[str], child: subprocess.Popen[bytes]) -> None:
        self.argv = tuple(argv)
        self.pid = child.pid
        self._child = child
        self._tail = Tail()
        self._lock = threading.Lock()  # the number of a reaped child may be somebody else's
        self._reader = threading.Thread(target=self._read, name=f"stderr-{child.pid}", daemon=True)
        self._reader.start()

    def alive(self) -> bool:
        with self._lock:
            return not _ended(self._child, 0)

    def wait(self, timeout: float) -> int:
        """Its exit code (negative: the signal). Raises ToolTimedOut when it runs on after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                raise ToolTimedOut(f"{self.argv[0]} did not end within {timeout:g} s", tool=self.argv[0])
            time.sleep(0.01)
        return self.stop()

    def failure(self) -> ToolFailed:
        """The error for a daemon that ended by itself, with what it printed last."""
        self.stop()
        return _failed(self.argv, self._child.returncode, self._tail.text())

    def stderr_tail(self) -> str:
        return self._tail.text()

    def stop(self, grace: float = GRACE_SECONDS) -> int:
        """SIGTERM, and SIGKILL after `grace` seconds, to it and all it started; its exit code when it is gone."""
        with self._lock:
            _stop(self._child, grace)
        self._reader.join(POLL_SECONDS)
        return self._child.returncode

    def _read(self) -> None:
        if self._child.stderr is None:
            return
        with self._child.stderr as pipe:
            while chunk := os.read(pipe.fileno(), 1 << 16):
                self._tail.feed(chunk)


@contextmanager
def spawn(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limits: Limits | None = None,
    own_stderr: bool = True,
) -> Iterator[Process]:
    """Run a daemon for as long as the block lasts; its stdout is dropped, the end of its stderr kept.

    With `own_stderr` False it writes to ours instead: for a part of vmferry, whose log is ours.
    """
    words = [os.fspath(word) for word in argv]
    stderr = subprocess.PIPE if own_stderr else None
    child = _fork(
        words, env=env, cwd=cwd, limits=limits, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
    )
    process = Process(words, child)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def read_lines(argv: Sequence[str | os.PathLike[str]], *, limits: Limits | None = None) -> Iterator[Iterator[str]]:
    """Run a tool for as long as the block lasts, and read what it prints as slowly as one likes: it waits.

    The last line is followed by ToolFailed when the tool's exit code is not 0. Raises ToolMissing.
    """
    words = [os.fspath(word) for word in argv]
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, encoding="utf-8", errors="replace") as out:
        try:
            child = _fork(words, env=None, cwd=None, limits=limits, stdin=subprocess.DEVNULL, stdout=writer)
        finally:
            os.close(writer)
        process = Process(words, child)

        def lines() -> Iterator[str]:
            yield from out
            if process.wait(GRACE_SECONDS):
                raise process.failure()

        try:
            yield lines()
        finally:
            process.stop()


@contextmanager
def secret_file(value: str | bytes) -> Iterator[Path]:
    """A 0600 file in memory that holds `value` exactly, for tools that take a password from a file.

    It is removed at exit. It is locked while in use: one that a killed process left behind is not, and goes next time.
    """
    directory = _memory_directory()
    _sweep_secrets(directory)
    handle, name = tempfile.mkstemp(prefix="vmferry-secret-", dir=directory)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with open(handle, "wb", closefd=False) as file:
            file.write(value.encode() if isinstance(value, str) else value)
        yield Path(name)
    finally:
        os.unlink(name)
        os.close(handle)


def _memory_directory() -> Path:
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - files in it are made by mkstemp
        if candidate and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    raise ToolFailed(
        "no file system in memory for a secret file", "Mount a tmpfs on /dev/shm or set XDG_RUNTIME_DIR to one."
    )


def _sweep_secrets(directory: Path) -> None:
    for path in directory.glob("vmferry-secret-*"):
        with suppress(FileNotFoundError, BlockingIOError, PermissionError), path.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > 60:  # a younger one may not be locked yet
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextmanager
def _input(stdin: bytes | None) -> Iterator[int]:
    """What the child reads: nothing, or `stdin` from an anonymous file in memory, so that no pipe has to be fed."""
    if stdin is None:
        yield subprocess.DEVNULL
        return
    handle = os.memfd_create("stdin")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(stdin)
        os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


@cache
def _may_contain() -> bool:
    """Namespaces are root's, and some containers keep them even from root."""
    return subprocess.run([*_CONTAINED, "true"], capture_output=True, check=False).returncode == 0


def _fork(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    limits: Limits | None,
    stdin: int,
    stdout: int,
    stderr: int | None = subprocess.PIPE,
    contained: bool = False,
) -> subprocess.Popen[bytes]:
    variables = environment(env)
    prefix = ["setpriv", "--pdeathsig", "KILL", "--"]
    if contained and _may_contain():
        prefix += _CONTAINED
    if limits and limits != Limits():
        prefix = ["prlimit", *_limit_words(limits), "--", *prefix]
    for tool in (prefix[0], "setpriv", words[0]):
        if shutil.which(tool, path=variables["PATH"]) is None:
            package = _PACKAGES.get(Path(tool).name)
            raise ToolMissing(
                f"{tool} is not installed",
                f"Install it: apt install {package}" if package else f"Install {tool}.",
                tool=tool,
            )

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*prefix, *words],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=variables,
            cwd=cwd,
            start_new_session=True,
        )

    try:
        return _forker.submit(start).result()
    except (OSError, ValueError) as error:
        raise ToolFailed(f"{words[0]} could not be started: {error}", tool=words[0]) from error


def _limit_words(limits: Limits) -> Iterator[str]:
    if limits.address_space is not None:
        yield f"--as={limits.address_space}"
    if limits.cpu_seconds is not None:
        yield f"--cpu={limits.cpu_seconds}"


def _pump(
    child: subprocess.Popen[bytes],
    words: Sequence[str],
    out: Lines | Capture,
    err: Tail,
    cancel: Callable[[], None] | None,
    timeout: float | None,
) -> None:
    """Read both pipes until the child has ended; it is left a zombie, so that its group can still be named."""
    assert child.stdout is not None
    assert child.stderr is not None
    started = polled = time.monotonic()
    ended = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector, child.stdout, child.stderr:
            for pipe, sink in ((child.stdout, out), (child.stderr, err)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, sink)
            selector.register(ended, selectors.EVENT_READ)
            running = True
            while running:
                for key, _ in selector.select(POLL_SECONDS):
                    if key.data is None:
                        running = False
                    elif chunk := os.read(key.fd, 1 << 16):
                        key.data.feed(chunk)
                    else:
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if cancel and now - polled >= POLL_SECONDS:
                    polled = now
                    cancel()
                if running and timeout is not None and now - started > timeout:
                    raise ToolTimedOut(
                        f"{words[0]} did not end within {timeout:g} s", tool=words[0], stderr_tail=err.text() or None
                    )
            for pipe, sink in ((child.stdout, out), (child.stderr, err)):
                with suppress(BlockingIOError):  # a straggler still holds the pipe: what is there has been read
                    while chunk := os.read(pipe.fileno(), 1 << 16):
                        sink.feed(chunk)
    finally:
        os.close(ended)


def _ended(child: subprocess.Popen[bytes], timeout: float) -> bool:
    """Whether the child ends within `timeout` seconds; it is not reaped."""
    if child.returncode is not None:
        return True
    handle = os.pidfd_open(child.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            return bool(selector.select(timeout))
    finally:
        os.close(handle)


def _stop(child: subprocess.Popen[bytes], grace: float) -> None:
    """End the child's whole group. The child is reaped last: until then nobody else can have its number."""
    if child.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        _ended(child, grace)
    child.wait()


def _failed(words: Sequence[str], returncode: int | None, tail: str) -> ToolFailed:
    how = f"was killed by signal {-returncode}" if returncode is not None and returncode < 0 else f"exited {returncode}"
    last = tail.strip().splitlines()[-1:] or ["it printed no reason"]
    return ToolFailed(f"{Path(words[0]).name} {how}: {last[0]}", tool=words[0], exit_code=returncode, stderr_tail=tail)
