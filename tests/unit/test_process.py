"""Children end when they must, take what they started with them, and get neither our secrets nor our settings."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app import process
from app.domain.errors import Cancelled, Parked, ToolFailed, ToolMissing, ToolTimedOut

PYTHON = sys.executable


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether the process ends (a zombie has) within that many seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_output_and_exit_code() -> None:
    done = process.run(["sh", "-c", "cat; echo err >&2"], stdin=b"a\xffb\n")
    assert (done.stdout, done.text, done.stderr_tail, done.returncode) == (b"a\xffb\n", "a\ufffdb\n", "err\n", 0)


def test_arguments_are_not_read_by_a_shell() -> None:
    assert process.run(["printf", "%s", "$(id) ; `id` -rf\n"]).stdout == b"$(id) ; `id` -rf\n"


def test_failure_carries_tool_code_and_reason() -> None:
    with pytest.raises(ToolFailed, match="sh exited 3: no such pool") as caught:
        process.run(["sh", "-c", "echo no such pool >&2; exit 3"])
    assert caught.value.fields == {"tool": "sh", "exit_code": 3, "stderr_tail": "no such pool\n"}


def test_accepted_exit_code() -> None:
    assert process.run(["sh", "-c", "exit 3"], ok=(0, 3)).returncode == 3


def test_death_by_signal_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="killed by signal 9"):
        process.run(["sh", "-c", "kill -9 $$"])


def test_missing_tool_names_its_package() -> None:
    with pytest.raises(ToolMissing) as caught:
        process.run(["qemu-img", "--version"], env={"PATH": str(Path(sys.executable).parent) + ":/nowhere"})
    assert "util-linux" in caught.value.remedy
    with pytest.raises(ToolMissing, match="no-such-tool is not installed"):
        process.run(["no-such-tool"])


def test_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ToolFailed, match="could not be started"):
        process.run(["true"], cwd=tmp_path / "absent")


def test_null_byte_in_an_argument() -> None:
    with pytest.raises(ToolFailed, match="could not be started"):
        process.run(["echo", "a\0b"])


def test_lines_come_while_it_runs() -> None:
    seen: list[tuple[str, float]] = []
    done = process.run(
        ["sh", "-c", "echo one; sleep 0.5; printf 'two\nthree'"],
        on_line=lambda line: seen.append((line, time.monotonic())),
    )
    assert [line for line, _ in seen] == ["one", "two", "three"]
    assert seen[1][1] - seen[0][1] > 0.3
    assert done.stdout == b""


def test_lines_are_read_as_slowly_as_one_likes() -> None:
    """Nothing is kept that was not asked for: the tool waits."""
    with process.read_lines(["sh", "-c", "yes | head -n 1000000; exit 3"]) as lines:
        assert next(lines) == "y\n"
    with process.read_lines(["printf", r"a\nb"]) as lines:
        assert list(lines) == ["a\n", "b"]
    with pytest.raises(ToolFailed, match="sh exited 3"), process.read_lines(["sh", "-c", "echo a; exit 3"]) as lines:
        list(lines)


def test_output_beyond_the_limit_stops_it() -> None:
    with pytest.raises(ToolFailed, match="printed more than 1000 bytes"):
        process.run(["yes"], stdout_limit=1000)


def test_both_pipes_full_do_not_block() -> None:
    code = "import sys; sys.stderr.write('e' * 3_000_000); sys.stdout.write('o' * 3_000_000)"
    done = process.run([PYTHON, "-c", code], timeout=30)
    assert len(done.stdout) == 3_000_000
    assert len(done.stderr_tail) == 16 << 10


@pytest.mark.parametrize("reason", [Cancelled("stop"), Parked()])
def test_cancel_passes_through_and_takes_the_whole_group(tmp_path: Path, reason: BaseException) -> None:
    note = tmp_path / "pid"
    calls = []

    def cancel() -> None:
        calls.append(time.monotonic())
        if note.exists() and note.read_text():
            raise reason

    with pytest.raises(type(reason)):
        process.run(["sh", "-c", f"sleep 1000 & echo $! > {note}; wait"], cancel=cancel)
    assert gone(int(note.read_text()))
    assert len(calls) < 30


def test_cancel_is_polled_five_times_a_second_however_much_is_printed() -> None:
    calls: list[float] = []
    process.run(["sh", "-c", "timeout 1 yes || true"], cancel=lambda: calls.append(0), on_line=lambda line: None)
    assert 2 <= len(calls) <= 8


def test_timeout() -> None:
    started = time.monotonic()
    with pytest.raises(ToolTimedOut, match=r"sleep did not end within 0\.3 s") as caught:
        process.run(["sleep", "1000"], timeout=0.3)
    assert time.monotonic() - started < 3
    assert caught.value.retryable


def test_a_tool_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)
    with pytest.raises(ToolTimedOut):
        process.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], timeout=0.3)


def test_a_straggler_does_not_outlive_a_tool_that_succeeded(tmp_path: Path) -> None:
    done = process.run(["sh", "-c", "sleep 1000 & echo $!"], timeout=20)
    assert gone(int(done.stdout))


def test_limits_hold() -> None:
    limits = process.Limits(address_space=1 << 30, cpu_seconds=20)
    with pytest.raises(ToolFailed, match="MemoryError"):
        process.run([PYTHON, "-c", "bytearray(2 << 30)"], limits=limits)
    with pytest.raises(ToolFailed, match="signal"):
        process.run([PYTHON, "-c", "while True: pass"], limits=process.Limits(cpu_seconds=1), timeout=30)


def test_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMFERRY_TOKEN", "secret-token")
    monkeypatch.setenv("AWS_SECRET", "x")
    monkeypatch.setenv("LIBGUESTFS_BACKEND", "direct")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    variables = dict(line.split("=", 1) for line in process.run(["env"], env={"MORE": "1"}).text.splitlines())
    assert variables["LIBGUESTFS_BACKEND"] == "direct"
    assert variables["LANG"] == "C.UTF-8"
    assert variables["MORE"] == "1"
    assert "VMFERRY_TOKEN" not in variables
    assert "AWS_SECRET" not in variables


def test_daemon_lives_as_long_as_the_block() -> None:
    with process.spawn(["sh", "-c", "echo ready >&2; sleep 1000 & wait"]) as daemon:
        assert daemon.alive()
        with pytest.raises(ToolTimedOut):
            daemon.wait(0.1)
    assert not daemon.alive()
    assert gone(daemon.pid)
    assert daemon.stderr_tail() == "ready\n"


def test_daemon_that_died_says_why() -> None:
    with process.spawn(["sh", "-c", "echo cannot open image >&2; exit 1"]) as daemon:
        assert daemon.wait(10) == 1
        assert "exited 1: cannot open image" in daemon.failure().message


def test_daemon_outlives_the_thread_that_started_it() -> None:
    """The death signal follows the forking thread, not the process."""
    made: list[process.Process] = []
    managers = []

    def start() -> None:
        manager = process.spawn(["sleep", "1000"])
        managers.append(manager)
        made.append(manager.__enter__())

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.5)
    assert made[0].alive()
    managers[0].__exit__(None, None, None)
    assert gone(made[0].pid)


def test_children_die_with_us_on_kill_9() -> None:
    code = (
        "from app import process; import time\n"
        "with process.spawn(['sleep', '1000']) as daemon:\n"
        "    print(daemon.pid, flush=True); time.sleep(1000)\n"
    )
    with subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        child = int(ours.stdout.readline())
        time.sleep(0.3)  # setpriv has to have started
        os.kill(ours.pid, signal.SIGKILL)
        ours.wait()
        assert gone(child)


def test_secret_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with process.secret_file("pässword") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes() == "pässword".encode()
        assert process.run(["cat", path]).text == "pässword"
    assert list(tmp_path.iterdir()) == []


def test_secret_file_is_removed_on_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(Parked), process.secret_file("x"):
        raise Parked
    assert list(tmp_path.iterdir()) == []


def test_secret_file_of_a_killed_process_goes_next_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    left = tmp_path / "vmferry-secret-left"
    left.write_text("old")
    os.utime(left, (1, 1))
    with process.secret_file("one") as one:
        os.utime(one, (1, 1))
        with process.secret_file("two"):
            assert one.exists()
        assert not left.exists()


def test_no_descriptor_or_thread_is_left() -> None:
    process.run(["true"])
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        process.run(["echo", "x"], stdin=b"y")
        with process.spawn(["sleep", "1000"]):
            pass
        with pytest.raises(ToolTimedOut):
            process.run(["sleep", "1000"], timeout=0.05)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
