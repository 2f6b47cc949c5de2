"""``until=`` and time spans as text, and which of the same rules lasts."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sockreg.config.bindfile import BindFiles, bind_path, write_files
from sockreg.config.ruleset import read_rule_set, read_sound
from sockreg.model import Action, Binding, Place
from sockreg.rules.ending import format_end, format_time, split_end, without_outlived
from sockreg.rules.syntax import format_rule, parse_rule
from sockreg.systemd.timespan import format_span, parse_span

PAST, FUTURE = 1_000_000_000, 4_000_000_000


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("until=2026-11-27T02:00:00Z", 1795744800),
        ("until=2026-11-27T02:00Z", 1795744800),
        ("until=2026-11-27T03:30:00+01:30", 1795744800),
    ],
)
def test_times(text: str, when: int) -> None:
    assert split_end(["tcp", "::1", text, "80"]) == (["tcp", "::1", "80"], when)
    assert split_end([format_end(when)]) == ([], when)


@pytest.mark.parametrize(
    "text",
    ["", "2h", "2026-11-27", "2026-11-27T02:00:00", "2026-02-30T02:00:00Z", "2026-11-27T24:01Z",
     "2026-11-27t02:00:00Z", "2026-11-27T02:00:00+25:00", "\u0662026-11-27T02:00:00Z"],
)  # fmt: skip
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="a time and its zone expected, as in 'until=2026-"):
        split_end([f"until={text}"])


def test_an_interface_may_have_such_a_name() -> None:
    assert split_end(["dev", "until=x"]) == (["dev", "until=x"], None)


SPANS = ("2h", "1h 30min", "90", "1.5h", "3 days", "1week 2d", "5 m", "1M", "1y", "20s500ms", ".5d")


@pytest.mark.parametrize("text", SPANS)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
def test_spans_are_those_of_systemd(text: str) -> None:
    told = subprocess.run(
        ["systemd-analyze", "timespan", text], capture_output=True, check=True, text=True
    ).stdout
    micros = next(line.split(":")[1] for line in told.splitlines() if "s:" in line)
    assert parse_span(text) == pytest.approx(int(micros) / 1e6)


@pytest.mark.parametrize("text", ["", " ", "h", "-1", "1x", "1h30x", "1e3", "infinity", "1" * 200])
def test_spans_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="a time span expected"):
        parse_span(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (59.9, "59s"), (60, "1min"), (3599, "59min 59s"), (3600, "1h"),
     (3605, "1h"), (7199, "1h 59min"), (86400 * 8 + 3600 * 5, "8d 5h")],
)  # fmt: skip
def test_what_is_left(seconds: float, text: str) -> None:
    assert format_span(seconds) == text


def written(label: str, line: int) -> Binding:
    (binding,) = parse_rule(Action.BIND, "tcp ::1 80", label, Place("f", line), [])
    return binding


def test_the_same_rule_lasts_as_long_as_the_longest() -> None:
    at = [written("a", line) for line in range(4)]
    assert without_outlived(at, {at[0].place: 5, at[1].place: 7}) == at[2:]
    ends = {one.place: end for one, end in zip(at, (5, 7, 6, 7), strict=True)}
    assert without_outlived(at, ends) == [at[1], at[3]]
    # Another outcome or other packets are another rule.
    other = written("b", 5)
    assert without_outlived([at[0], other], {at[0].place: 5}) == [at[0], other]


def read(root: Path) -> list[str]:
    return [f"{b.label}: {format_rule(b)}" for b in read_rule_set(str(root)).bindings]


def put(root: Path, *lines: str) -> Path:
    path = Path(bind_path(str(root), runtime=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_lines_that_have_ended_are_skipped_and_others_are_not(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        "[web]",
        "Bind=tcp ::1 1",
        f"Bind=tcp ::1 2,3 {format_end(PAST)}",
        f"Bind=tcp ::1 4 \\\n {format_end(FUTURE)} missing=pass",
        f"Reject=tcp ::2 4 {format_end(PAST)}",
        "[other]",
        f"Bind=tcp ::2 4 {format_end(FUTURE)}",
    )
    assert read(tmp_path) == ["web: tcp ::1 1", "web: tcp ::1 4 missing=pass", "other: tcp ::2 4"]
    rules = read_sound(str(tmp_path), (), {}, dict)
    assert rules.ends == {Place(str(path), 4): FUTURE, Place(str(path), 8): FUTURE}


def test_a_wrong_time_is_a_problem_of_its_line(tmp_path: Path) -> None:
    put(tmp_path, "[web]", "Bind=tcp ::1 1", "Bind=tcp ::1 2 until=tomorrow")
    rules = read_sound(str(tmp_path), (), {}, dict)
    (wrong,) = rules.left_out
    assert "90-bind.conf:3" in wrong.line
    assert "until 'tomorrow': a time and its zone expected" in wrong.line


def test_what_bind_and_unbind_write(tmp_path: Path) -> None:
    root = str(tmp_path)
    ended = f"Bind=tcp ::1 9 {format_end(PAST)}"
    path = put(tmp_path, "# mine", "[web]", "Bind=tcp ::1 1", ended, "[gone]", ended)

    def bind(rule: str, end: int | None) -> None:
        files = BindFiles(root)
        files.add("web", rule.split(), runtime=False, notices=[], end=end)
        write_files(files.changes())

    def unbind(rule: str) -> None:
        files = BindFiles(root)
        files.remove("web", rule.split(), notices=[])
        write_files(files.changes())

    bind("tcp ::1 2,3", FUTURE)
    until = f"until={format_time(FUTURE)}"
    head = "# mine\n[web]\nBind=tcp ::1 1\n"
    assert path.read_text() == f"{head}Bind=tcp ::1 2 {until}\nBind=tcp ::1 3 {until}\n"
    bind("tcp ::1 2", FUTURE + 60)
    bind("tcp ::1 3", None)
    later = f"until={format_time(FUTURE + 60)}"
    assert path.read_text() == f"{head}Bind=tcp ::1 2 {later}\nBind=tcp ::1 3\n"
    # Of a line with several rules, the others keep their end.
    path.write_text(f"[web]\nBind=tcp ::1 2,3 {until}\n")
    unbind("tcp ::1 2")
    assert path.read_text() == f"[web]\nBind=tcp ::1 3 {until}\n"
    unbind(f"tcp ::1 3 {until}")
    assert not path.exists()


def test_a_rule_ends_while_somebody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock decides, wherever it is set to."""
    put(tmp_path, "[web]", f"Bind=tcp ::1 1 {format_end(FUTURE)}")
    monkeypatch.setattr(time, "time", lambda: FUTURE - 0.1)
    assert read(tmp_path) == ["web: tcp ::1 1"]
    monkeypatch.setattr(time, "time", lambda: float(FUTURE))
    assert read(tmp_path) == []
    monkeypatch.setattr(time, "time", lambda: FUTURE - 3600.0)
    assert read(tmp_path) == ["web: tcp ::1 1"]
