"""Unit files that are not installed anywhere, as this machine's systemd judges them."""

import subprocess


def verify(test, directories, names):
    """Asserts that systemd reports nothing about these units in these directories."""
    test.assertGreater(len(names), 0)
    path = ":".join(map(str, [*directories, "/usr/lib/systemd/system"]))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(names)], capture_output=True, text=True,
        env={"PATH": "/usr/sbin:/usr/bin", "SYSTEMD_UNIT_PATH": path})
    test.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
