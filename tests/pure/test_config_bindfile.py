"""The files behind bind and unbind: what is added and removed, and what stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sockreg.config.bindfile import BindFiles, bind_path, write_files
from sockreg.config.conf import Overlay
from sockreg.config.ruleset import read_rule_set
from sockreg.errors import EXIT_CONFIG, EXIT_USAGE, SockregError
from sockreg.rules.syntax import format_rule

HEADER = """\
# Written by `sockreg bind` and `sockreg unbind`. Editing is fine: comments, order and
# other lines are kept; `sockreg apply` puts the result in force.
"""


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path)


def added(root: str, label: str, rule: str, *, runtime: bool = False) -> Overlay:
    """What bind would write."""
    files = BindFiles(root)
    files.add(label, rule.split(), runtime=runtime, notices=[])
    return files.changes()


def bind(root: str, label: str, rule: str, *, runtime: bool = False) -> None:
    write_files(added(root, label, rule, runtime=runtime))


def unbind(root: str, label: str, rule: str) -> None:
    files = BindFiles(root)
    files.remove(label, rule.split(), notices=[])
    write_files(files.changes())


def put(root: str, text: str, *, runtime: bool = False) -> None:
    path = Path(bind_path(root, runtime))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def content(root: str, *, runtime: bool = False) -> str:
    return Path(bind_path(root, runtime)).read_text()


def rules(root: str) -> list[str]:
    return [f"{b.label}: {format_rule(b)}" for b in read_rule_set(root).bindings]


def test_paths() -> None:
    assert bind_path("/", runtime=False) == "/etc/sockreg/90-bind.conf"
    assert bind_path("/srv/", runtime=True) == "/srv/run/sockreg/91-bind-runtime.conf"


def test_bind_and_unbind(root: str) -> None:
    bind(root, "web", "tcp 192.0.2.7/32 80")
    bind(root, "dns", "udp ::/0 53 dev eth0 missing=pass")
    bind(root, "web", "tcp 192.0.2.8 80,443")
    assert content(root) == HEADER + (
        "\n[web]\nBind=tcp 192.0.2.7 80\nBind=tcp 192.0.2.8 80\nBind=tcp 192.0.2.8 443\n"
        "\n[dns]\nBind=udp ::/0 53 dev eth0 missing=pass\n"
    )
    unbind(root, "web", "tcp 192.0.2.8 80,443")
    unbind(root, "dns", "udp ::/0 53 dev eth0")
    assert content(root) == HEADER + "\n[web]\nBind=tcp 192.0.2.7 80\n"
    unbind(root, "web", "tcp 192.0.2.7 80")
    assert not os.path.exists(bind_path(root, runtime=False))


def test_runtime_rules_live_beside_persistent_ones(root: str) -> None:
    bind(root, "a", "tcp ::1 1")
    bind(root, "a", "tcp ::1 2", runtime=True)
    bind(root, "a", "tcp ::1 3", runtime=True)
    bind(root, "a", "tcp ::1 3")
    assert rules(root) == ["a: tcp ::1 1", "a: tcp ::1 3", "a: tcp ::1 2"]
    unbind(root, "a", "tcp ::1 3")
    assert rules(root) == ["a: tcp ::1 1", "a: tcp ::1 2"]


def test_binding_again_changes_nothing(root: str) -> None:
    bind(root, "web", "tcp ::1 80,443")
    assert added(root, "web", "tcp ::1/128 443") == {}
    put(root, "[web]\nBind=tcp ::1 443,80\n")
    assert added(root, "web", "tcp ::1 80,443") == {}


def test_binding_again_with_another_outcome_replaces(root: str) -> None:
    put(root, "[web]\nBind=tcp ::1 80,443\n")
    bind(root, "web", "tcp ::1 80 missing=pass")
    assert content(root) == "[web]\nBind=tcp ::1 443\nBind=tcp ::1 80 missing=pass\n"
    bind(root, "web", "tcp ::1 80")
    assert content(root) == "[web]\nBind=tcp ::1 443\nBind=tcp ::1 80\n"


def test_what_operators_wrote_stays(root: str) -> None:
    written = """\
# mine
[web]
# the site
Bind=tcp ::1 \\
# and
 80,443
Reject=tcp ::1 22

[other]
Bind=tcp ::2 80
; end of other

[web]
# empty but for this
"""
    put(root, written)
    bind(root, "web", "tcp ::1 25")
    bind(root, "third", "tcp ::1 26")
    assert content(root) == written.replace("[web]\n# empty", "[web]\nBind=tcp ::1 25\n# empty") + (
        "\n[third]\nBind=tcp ::1 26\n"
    )
    unbind(root, "third", "tcp ::1 26")
    unbind(root, "web", "tcp ::1 25")
    assert content(root) == written
    put(root, written.replace("80,443", "80 \\\n from ::3"))
    unbind(root, "web", "tcp ::1 80 from ::3")
    unbind(root, "other", "tcp ::2 80")
    assert (
        content(root)
        == """\
# mine
[web]
# the site
Reject=tcp ::1 22

[other]
; end of other

[web]
# empty but for this
"""
    )


def test_empty_sections_go_with_their_last_rule(root: str) -> None:
    put(root, "[a]\nBind=tcp ::1 1\n\n[b]\nBind=tcp ::1 2\n\n[c]\nBind=tcp ::1 3")
    unbind(root, "b", "tcp ::1 2")
    assert content(root) == "[a]\nBind=tcp ::1 1\n\n[c]\nBind=tcp ::1 3\n"
    bind(root, "d", "tcp ::1 4")
    unbind(root, "d", "tcp ::1 4")
    assert content(root) == "[a]\nBind=tcp ::1 1\n\n[c]\nBind=tcp ::1 3\n"


def test_a_rule_before_a_reset_is_not_there(root: str) -> None:
    put(root, "[a]\nBind=tcp ::1 1\nBind=\n")
    bind(root, "a", "tcp ::1 1")
    assert content(root) == "[a]\nBind=tcp ::1 1\nBind=\nBind=tcp ::1 1\n"


def test_bytes_that_are_not_utf8_survive(root: str) -> None:
    put(root, "")
    path = Path(bind_path(root, runtime=False))
    path.write_bytes(b"# caf\xe9\n")
    bind(root, "a", "tcp ::1 1")
    assert path.read_bytes() == b"# caf\xe9\n\n[a]\nBind=tcp ::1 1\n"


def test_the_rule_set_can_be_checked_before_anything_is_written(root: str) -> None:
    bind(root, "a", "tcp ::1 1")
    change = added(root, "b", "tcp ::1 1", runtime=True)
    with pytest.raises(SockregError, match=r"91-bind-runtime.conf:5: .*ties with.*90-bind.conf:5"):
        read_rule_set(root, overlay=change)
    assert rules(root) == ["a: tcp ::1 1"]


def test_changes_can_be_undone(root: str) -> None:
    undo = write_files(added(root, "a", "tcp ::1 1"))
    assert undo == {bind_path(root, runtime=False): None}
    before = content(root)
    undo_second = write_files(added(root, "a", "tcp ::1 2"))
    assert content(root) != before
    write_files(undo_second)
    assert content(root) == before
    write_files(undo)
    assert not os.path.exists(bind_path(root, runtime=False))


def test_files_are_readable_by_all_and_nothing_else_is_left(root: str) -> None:
    bind(root, "a", "tcp ::1 1")
    path = Path(bind_path(root, runtime=False))
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["90-bind.conf"]


def test_a_failed_write_puts_the_files_before_it_back(root: str) -> None:
    good = bind_path(root, runtime=False)
    put(root, "[a]\n")
    Path(root, "run").write_text("in the way of a directory")
    with pytest.raises(SockregError, match=r"91-bind-runtime.conf: cannot be written"):
        write_files({good: "[b]\n", bind_path(root, runtime=True): "[c]\n"})
    assert content(root) == "[a]\n"
    assert os.listdir(Path(good).parent) == ["90-bind.conf"]


def test_notices_of_what_was_typed(root: str) -> None:
    notices: list[str] = []
    BindFiles(root).add("a", ["tcp", "192.0.2.7/24", "1"], runtime=False, notices=notices)
    assert notices == ["192.0.2.7/24 has host bits set and is read as 192.0.2.0/24"]


@pytest.mark.parametrize(
    ("label", "rule", "reason"),
    [
        ("a:b", "tcp ::1 80", "the label 'a:b' contains ':'"),
        ("a", "tcp ::1 htttp", "tcp ::1 htttp: ports 'htttp': /etc/services has no tcp service"),
        ("a", "tcp ::1", "tcp ::1: PROTOCOL PREFIX PORTS expected"),
    ],
)
def test_wrong_command_lines(root: str, label: str, rule: str, reason: str) -> None:
    for attempt in (bind, unbind):
        with pytest.raises(SockregError) as caught:
            attempt(root, label, rule)
        assert caught.value.status == EXIT_USAGE
        assert caught.value.message.startswith(reason)
    assert os.listdir(root) == []


def refused(root: str, label: str, rule: str) -> SockregError:
    with pytest.raises(SockregError) as caught:
        unbind(root, label, rule)
    assert caught.value.status == EXIT_CONFIG
    return caught.value


def test_unbind_names_the_file_in_which_the_rule_stands(root: str) -> None:
    other = Path(root, "etc/sockreg/a.conf")
    other.parent.mkdir(parents=True)
    other.write_text("[web]\nBind=tcp ::1 80\n")
    error = refused(root, "web", "tcp ::1 80")
    assert error.message == f"Bind=tcp ::1 80 (web) is in {other}:2"
    assert error.hint == "remove it there"


def test_unbind_names_the_unit_in_which_the_rule_stands(root: str) -> None:
    unit = Path(root, "etc/systemd/system/web.socket")
    unit.parent.mkdir(parents=True)
    unit.write_text("[X-Sockreg]\nBind=tcp ::1 80\n")
    with pytest.raises(SockregError, match=r"web.socket\) is in .*/web.socket:2$"):
        files = BindFiles(root, active=["web.socket"])
        files.remove("web.socket", ["tcp", "::1", "80"], notices=[])


def test_unbind_of_no_rule(root: str) -> None:
    bind(root, "web", "tcp ::1 80")
    before = content(root)
    for rule in ("tcp ::1 81", "udp ::1 80", "tcp ::/0 80", "tcp ::1 80,81", "tcp ::1 80 dev lo"):
        assert refused(root, "web", rule).message.startswith("there is no rule Bind=")
    assert refused(root, "dns", "tcp ::1 80").message == "there is no rule Bind=tcp ::1 80 (dns)"
    assert content(root) == before


def test_a_wrong_line_in_the_file_is_named(root: str) -> None:
    put(root, "[web]\nBind=tcp\n")
    for attempt in (bind, unbind):
        with pytest.raises(SockregError, match=r"90-bind.conf:2: Bind=tcp: ") as caught:
            attempt(root, "web", "tcp ::1 80")
        assert caught.value.status == EXIT_CONFIG
    assert content(root) == "[web]\nBind=tcp\n"


def test_links_are_not_written_through(root: str) -> None:
    path = Path(bind_path(root, runtime=False))
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    with pytest.raises(SockregError, match="is a symbolic link"):
        bind(root, "web", "tcp ::1 80")
    assert path.is_symlink()
