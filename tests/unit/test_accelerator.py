"""When KVM is taken for one that works, by how long a boot sector takes on it."""

from __future__ import annotations

import pytest

from converters import accelerator


@pytest.mark.parametrize(
    ("kvm", "found"),
    [
        pytest.param(0.2, "kvm", id="works"),
        pytest.param(0.9, "kvm", id="works on a busy machine"),
        pytest.param(3.0, "tcg", id="crawls: emulation is faster"),
        pytest.param(None, "tcg", id="hangs or aborts"),
    ],
)
def test_kvm_has_to_be_worth_it(kvm: float | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def boot(accelerator: str, timeout: float = 5) -> float | None:
        seconds = kvm if accelerator == "kvm" else 0.13
        return seconds if seconds is not None and seconds <= timeout else None

    monkeypatch.setattr(accelerator, "boot_seconds", boot)
    monkeypatch.setattr(accelerator.os, "access", lambda *_: True)
    assert accelerator.probe.__wrapped__() == found
