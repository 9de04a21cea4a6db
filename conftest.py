"""What tests and notebooks share when pytest runs them: at the end, where the time went."""

from collections import defaultdict

import pytest

SHOWN = 25  # files of the table; what is left shares its last line


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """A table of seconds by file, set-up and tear-down included: the longest first."""
    seconds, tests = defaultdict(float), defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration") and hasattr(report, "nodeid"):
                file = report.nodeid.split("::")[0]
                seconds[file] += report.duration
                tests[file] += report.when == "call"
    files = sorted(seconds, key=seconds.get, reverse=True)
    if len(files) < 2:
        return
    terminalreporter.section("where the time went")
    for file in files[:SHOWN]:
        terminalreporter.write_line(f"{seconds[file]:7.1f} s  {tests[file]:4d} tests  {file}")
    if left := files[SHOWN:]:
        terminalreporter.write_line(f"{sum(map(seconds.get, left)):7.1f} s  {sum(map(tests.get, left)):4d} tests  in {len(left)} more files")
    terminalreporter.write_line(f"{sum(seconds.values()):7.1f} s altogether")
