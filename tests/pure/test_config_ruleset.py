"""From files to a rule set: which files, which units, which rules, and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sockreg.config.conf import Options
from sockreg.config.report import Kind, Problem
from sockreg.config.ruleset import RuleSet, examine_rule_set, read_rule_set
from sockreg.errors import EXIT_CONFIG, SockregError
from sockreg.model import Action, Place
from sockreg.rules.syntax import format_rule
from sockreg.systemd.unitpaths import files_state

SYSTEM = "etc/systemd/system"


class Tree:
    """A root directory with configuration files in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, text: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def enable(self, unit: str, wanted_by: str) -> None:
        self.link(f"{SYSTEM}/{wanted_by}.wants/{unit}", f"/usr/lib/systemd/system/{unit}")

    def read(
        self, *active: str, overlay: dict[str, str | None] | None = None, notices: int = 0
    ) -> RuleSet:
        rules = read_rule_set(str(self.root), active, overlay)
        assert len(rules.notices) == notices, rules.notices
        return rules

    def refused(self, *active: str) -> list[str]:
        with pytest.raises(SockregError) as caught:
            read_rule_set(str(self.root), active)
        assert caught.value.status == EXIT_CONFIG
        return caught.value.message.replace(f"{self.root}/", "").splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def shown(rules: RuleSet) -> list[str]:
    return [f"{b.label}: {b.action.name.lower()} {format_rule(b)}" for b in rules.bindings]


# Conf files


def test_nothing_configured(tree: Tree) -> None:
    assert tree.read() == RuleSet(bindings=[], notices=[], units={}, options=Options(counters=True))


def test_sections_are_labels(tree: Tree) -> None:
    path = tree.put(
        "etc/sockreg/a.conf",
        "[web]\nBind=tcp 192.0.2.0/24 80,443\nReject=tcp 192.0.2.9 *\n"
        "[dns server]\nBind=udp 2001:db8::/64 53 missing=pass\nPass=udp 2001:db8::1 53\n"
        "[web]\nBind=tcp 192.0.2.0/24 8000-8999\n",
    )
    rules = tree.read()
    assert shown(rules) == [
        "web: bind tcp 192.0.2.0/24 80",
        "web: bind tcp 192.0.2.0/24 443",
        "web: bind tcp 192.0.2.0/24 8000-8999",
        "web: reject tcp 192.0.2.9 *",
        "dns server: bind udp 2001:db8::/64 53 missing=pass",
        "dns server: pass udp 2001:db8::1 53",
    ]
    assert [str(b.place) for b in rules.bindings] == [
        f"{path}:{line}" for line in (2, 2, 8, 3, 5, 6)
    ]


def test_files_in_order_of_name_and_the_first_directory_wins(tree: Tree) -> None:
    tree.put("usr/lib/sockreg/10-a.conf", "[a]\nBind=tcp ::1 1\n")
    tree.put("usr/lib/sockreg/20-b.conf", "[b]\nBind=tcp ::1 2\n")
    tree.put("usr/local/lib/sockreg/15-c.conf", "[c]\nBind=tcp ::1 3\n")
    tree.put("run/sockreg/20-b.conf", "[b]\nBind=tcp ::1 4\n")
    tree.put("etc/sockreg/30-d.conf", "[d]\nBind=tcp ::1 5\n")
    tree.put("run/sockreg/30-d.conf", "[d]\nBind=tcp ::1 6\n")
    tree.put("etc/sockreg/readme.txt", "not read")
    tree.put("etc/sockreg/.hidden.conf", "not read")
    assert shown(tree.read()) == [
        f"{label}: bind tcp ::1 {port}" for label, port in (("a", 1), ("c", 3), ("b", 4), ("d", 5))
    ]


def test_masked_conf_files(tree: Tree) -> None:
    for name in "abc":
        tree.put(f"usr/lib/sockreg/{name}.conf", f"[{name}]\nBind=tcp ::1 80\n")
    tree.link("etc/sockreg/a.conf", "/dev/null")
    tree.put("run/sockreg/b.conf", "")
    assert shown(tree.read()) == ["c: bind tcp ::1 80"]


def test_linked_conf_file(tree: Tree) -> None:
    tree.put("srv/rules", "[a]\nBind=tcp ::1 80\n")
    tree.link("etc/sockreg/a.conf", "/srv/rules")
    (binding,) = tree.read().bindings
    assert binding.place.path == f"{tree.root}/etc/sockreg/a.conf"


def test_empty_value_drops_what_was_read_before_under_that_label_and_key(tree: Tree) -> None:
    tree.put("etc/sockreg/10.conf", "[a]\nBind=tcp ::1 1\nReject=tcp ::1 2\n[b]\nBind=tcp ::1 3\n")
    tree.put("run/sockreg/20.conf", "[a]\nBind=\nBind=tcp ::1 4\n")
    assert shown(tree.read()) == [
        "a: reject tcp ::1 2",
        "b: bind tcp ::1 3",
        "a: bind tcp ::1 4",
    ]


def test_options(tree: Tree) -> None:
    tree.put("etc/sockreg/10.conf", "[:registry]\nCounters=no\nTakeSsh=yes\n")
    assert tree.read().options == Options(counters=False, take_ssh=True)
    tree.put("etc/sockreg/20.conf", "[:registry]\nCounters=On\nTakeSsh=0\n")
    assert tree.read().options == Options(counters=True, take_ssh=False)
    tree.put("etc/sockreg/20.conf", "[:registry]\nCounters=\nTakeSsh=\n")
    assert tree.read().options == Options()


def test_wrong_options(tree: Tree) -> None:
    tree.put("etc/sockreg/a.conf", "[:registry]\nCounters=maybe\nTakeSsh=2\nX=1\n")
    assert tree.refused() == [
        "etc/sockreg/a.conf:2: Counters=maybe: 'yes' or 'no' expected",
        "etc/sockreg/a.conf:3: TakeSsh=2: 'yes' or 'no' expected",
        "etc/sockreg/a.conf:4: X=1: unknown option: Counters=, TakeSsh= expected",
    ]


def test_all_problems_of_all_files_at_once(tree: Tree) -> None:
    tree.put("etc/sockreg/a.conf", "early=1\n[we:b]\nBind=tcp ::1 80\n[]\n[web]\nBinde=x\nword\n")
    tree.put("etc/sockreg/b.conf", "[web]\nBind=tcp ::1 99999\nBind=\nBind=\\\n # why\n tcp\n")
    assert tree.refused() == [
        "etc/sockreg/a.conf:1: 'early=1' is before the first [section]",
        (
            "etc/sockreg/a.conf:2: section [we:b]: the label contains ':'; "
            "only [:registry] and [:prefixes] are no labels"
        ),
        (
            "etc/sockreg/a.conf:4: section []: the label is empty; only [:registry] and "
            "[:prefixes] are no labels"
        ),
        "etc/sockreg/a.conf:7: 'word' is not KEY=VALUE",
        "etc/sockreg/a.conf:6: unknown key 'Binde': Bind=, Reject=, Pass=, Register= expected",
        (
            "etc/sockreg/b.conf:2: Bind=tcp ::1 99999: ports '99999': expected numbers from 1 to "
            "65535, ranges such as 8000-8999 and names of services, separated by commas, or '*'"
        ),
        (
            "etc/sockreg/b.conf:4: Bind=tcp: PROTOCOL PREFIX PORTS expected, "
            "as in 'tcp 192.0.2.0/24 80'"
        ),
    ]


def test_many_problems_are_counted(tree: Tree) -> None:
    tree.put("etc/sockreg/a.conf", "[web]\n" + "Bind=tcp\n" * 50)
    lines = tree.refused()
    assert len(lines) == 21
    assert lines[19].startswith("etc/sockreg/a.conf:21: ")
    assert lines[20] == "and 30 more"


def test_unreadable_conf_file(tree: Tree) -> None:
    tree.link("etc/sockreg/a.conf", "folder")
    (tree.root / "etc/sockreg/folder").mkdir()
    assert tree.refused() == ["etc/sockreg/a.conf: cannot be read: Is a directory"]


def test_what_is_no_file_does_not_hide_the_rules_of_its_name(tree: Tree) -> None:
    """As a container manager makes directories for files that it should mount."""
    tree.put("usr/lib/sockreg/a.conf", "[a]\nBind=tcp ::1 80\n")
    (tree.root / "etc/sockreg/a.conf").mkdir(parents=True)
    os.mkfifo(tree.root / "etc/sockreg/b.conf")
    tree.link("etc/sockreg/c.conf", "b.conf")
    tree.link("etc/sockreg/d.conf", "/dev/zero")
    (tree.root / "dev").mkdir()
    tree.link("dev/zero", "/dev/full")
    os.mknod(tree.root / "dev/full", 0o644 | stat.S_IFCHR, os.makedev(1, 7))
    assert tree.refused() == [
        "etc/sockreg/a.conf: cannot be read: Is a directory",
        "etc/sockreg/b.conf: is a FIFO, not a file",
        "etc/sockreg/c.conf: is a link to etc/sockreg/b.conf, which is a FIFO, not a file",
        "etc/sockreg/d.conf: is a link to dev/full, which is a device, not a file",
    ]


def test_ties_name_both_places(tree: Tree) -> None:
    tree.put("etc/sockreg/a.conf", "[one]\nBind=tcp ::1 80\nReject=udp ::1 5-9\n")
    tree.put("etc/sockreg/b.conf", "[two]\n\nBind=tcp ::1 79,80\nPass=udp ::1 7-11\n")
    assert tree.refused() == [
        (
            "etc/sockreg/b.conf:3: Bind=tcp ::1 80 (two) ties with Bind=tcp ::1 80 (one) "
            "of etc/sockreg/a.conf:2"
        ),
        (
            "etc/sockreg/b.conf:4: Pass=udp ::1 7-11 ties with Reject=udp ::1 5-9 "
            "of etc/sockreg/a.conf:3"
        ),
    ]


def test_repeated_rules_are_kept_once_and_notices_told(tree: Tree) -> None:
    path = tree.put("etc/sockreg/a.conf", "[web]\nBind=tcp ::1/64 80\nBind=tcp ::/64 80\n")
    rules = tree.read(notices=1)
    assert shown(rules) == ["web: bind tcp ::/64 80"]
    assert list(map(str, rules.notices)) == [
        f"{path}:2: ::1/64 has host bits set and is read as ::/64"
    ]


def test_overlay_stands_for_files_that_are_not_written_yet(tree: Tree) -> None:
    a = tree.put("etc/sockreg/a.conf", "[a]\nBind=tcp ::1 1\n")
    b = tree.put("usr/lib/sockreg/b.conf", "[b]\nBind=tcp ::1 2\n")
    new = f"{tree.root}/run/sockreg/c.conf"
    masking = f"{tree.root}/etc/sockreg/b.conf"
    text = "[x]\nBind=tcp ::1 9\n"
    assert shown(tree.read(overlay={a: text})) == ["x: bind tcp ::1 9", "b: bind tcp ::1 2"]
    assert shown(tree.read(overlay={a: None, new: text})) == [
        "b: bind tcp ::1 2",
        "x: bind tcp ::1 9",
    ]
    assert shown(tree.read(overlay={masking: ""})) == ["a: bind tcp ::1 1"]
    assert shown(tree.read(overlay={b: ""})) == ["a: bind tcp ::1 1"]
    assert shown(tree.read(overlay={f"{tree.root}/etc/other/c.conf": text})) == shown(tree.read())


# Units


def test_unit_counts_when_its_companion_is_enabled(tree: Tree) -> None:
    unit = tree.put(
        f"{SYSTEM}/web.socket",
        "[Socket]\nListenStream=80\nFileDescriptorName=www\n"
        "[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\nReject=tcp 192.0.2.9 *\n",
    )
    assert tree.read().units == {}
    tree.enable("sockreg@web.service", "web.socket")
    rules = tree.read()
    assert shown(rules) == ["www: bind tcp 192.0.2.0/24 80", "web.socket: reject tcp 192.0.2.9 *"]
    assert list(rules.units) == ["web.socket"]
    files = rules.units["web.socket"]
    assert (files.label, files.paths) == ("www", [unit])
    assert files.state == files_state([unit])


@pytest.mark.parametrize("folder", ["multi-user.target.wants", "web.socket.requires"])
@pytest.mark.parametrize("base", ["run/systemd/generator", "usr/lib/systemd/system"])
def test_companion_is_enabled_by_any_unit_anywhere(tree: Tree, base: str, folder: str) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    tree.link(f"{base}/{folder}/sockreg@web.service", "../gone")
    assert list(tree.read().units) == ["web.socket"]


def test_masks_undo_enablement(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    tree.link("usr/lib/systemd/system/web.socket.wants/sockreg@web.service", "../gone")
    assert list(tree.read().units) == ["web.socket"]
    tree.link(f"{SYSTEM}/web.socket.wants/sockreg@web.service", "/dev/null")
    assert tree.read().units == {}


def test_unit_with_a_masked_companion_does_not_count(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    tree.enable("sockreg@web.service", "web.socket")
    tree.link(f"{SYSTEM}/sockreg@web.service", "/dev/null")
    assert tree.read("web.socket").units == {}


def test_active_units_count(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    assert shown(tree.read("web.socket", "gone.socket")) == ["web.socket: bind tcp ::1 80"]


WANTING = "[Unit]\nWants=other.service sockreg@%N.service\n[X-Sockreg]\nBind=tcp ::1 80\n"


def test_enabled_unit_that_wants_its_companion_counts(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[Socket]\nListenStream=80\n")
    dropin = tree.put(f"{SYSTEM}/web.socket.d/sockreg.conf", WANTING)
    assert tree.read().units == {}
    tree.enable("web.socket", "sockets.target")
    rules = tree.read()
    assert shown(rules) == ["web.socket: bind tcp ::1 80"]
    assert rules.units["web.socket"].paths == [f"{tree.root}/{SYSTEM}/web.socket", dropin]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("[Unit]\nRequires=sockreg@web.service\n", True),
        ("[Unit]\nBindsTo=sockreg@%p.service\n", True),
        ("[Unit]\nWants=sockreg@%N.service\nWants=\n", True),
        ("[Unit]\nWants=sockreg@other.service %H.service\n", False),
        ("[Unit]\nAfter=sockreg@web.service\n", False),
        ("[Socket]\nWants=sockreg@web.service\n", False),
    ],
)
def test_ways_to_want_the_companion(tree: Tree, text: str, counts: bool) -> None:
    tree.put(f"{SYSTEM}/web.socket", text)
    tree.enable("web.socket", "sockets.target")
    assert list(tree.read().units) == (["web.socket"] if counts else [])


def test_units_without_rules_count_too(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[Socket]\nListenStream=80\n")
    tree.enable("sockreg@web.service", "web.socket")
    rules = tree.read()
    assert rules.bindings == []
    assert rules.units["web.socket"].label == "web.socket"


def test_companions_of_no_unit_are_noticed(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/masked.socket", "")
    tree.put(f"{SYSTEM}/pool@.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    for name in ("gone", "masked", "pool@"):
        tree.enable(f"sockreg@{name}.service", "multi-user.target")
    assert [notice.text for notice in tree.read("masked.socket", notices=3).notices] == [
        "sockreg@gone.service is enabled, but there is no gone.socket",
        "sockreg@masked.service is enabled, but masked.socket is masked",
        "sockreg@pool@.service is enabled, but pool@.socket is a template",
    ]


def test_units_that_register_themselves_and_are_not_there(tree: Tree) -> None:
    for name in ("gone", "masked", "other"):
        tree.put(f"{SYSTEM}/{name}.socket.d/50-sockreg.conf", "[Unit]\nWants=sockreg.service\n")
        tree.enable(f"{name}.socket", "sockets.target")
    tree.put(f"{SYSTEM}/other.socket.d/50-sockreg.conf", "[Unit]\nWants=other.service\n")
    tree.put(f"{SYSTEM}/masked.socket", "")
    found = [n.text.removeprefix(f"{tree.root}/{SYSTEM}/") for n in tree.read(notices=2).notices]
    is_enabled = "socket.d/50-sockreg.conf: {0}.socket is enabled with sockreg, but"
    assert found == [
        f"gone.{is_enabled.format('gone')} there is no gone.socket",
        f"masked.{is_enabled.format('masked')} masked.socket is masked",
    ]
    tree.link(f"{SYSTEM}/gone.socket", "/srv/gone.socket")
    assert tree.refused() == [f"{SYSTEM}/gone.socket: is a link that leads nowhere"]


def test_templates_and_specifiers(tree: Tree) -> None:
    tree.put(
        f"{SYSTEM}/web-pool@.socket",
        "[Unit]\nWants=sockreg@%N.service\n[Socket]\nFileDescriptorName=%j-%i\n"
        "[X-Sockreg]\nBind=tcp 192.0.2.%i 80\n",
    )
    tree.enable("web-pool@7.socket", "sockets.target")
    tree.enable("sockreg@web-pool@9.service", "web-pool@9.socket")
    rules = tree.read("web-pool@8.socket")
    assert shown(rules) == [f"pool-{n}: bind tcp 192.0.2.{n} 80" for n in (7, 8, 9)]
    assert list(rules.units) == [f"web-pool@{n}.socket" for n in (7, 8, 9)]


@pytest.mark.parametrize(
    ("unit", "written", "expanded"),
    [
        ("a-b@c-d.socket", "%n", "a-b@c-d.socket"),
        ("a-b@c-d.socket", "%N %%", "a-b@c-d %"),
        ("a-b@c-d.socket", "%p %P %j %J", "a-b a/b b b"),
        ("a-b@c-d.socket", "%i %I", "c-d c/d"),
        ("web.socket", "x%ix %p %N %j", "xx web web web"),
        ("w@sp\\x20ace\\x2d.socket", "%i=%I", "sp\\x20ace\\x2d=sp ace-"),
    ],
)
def test_specifiers(tree: Tree, unit: str, written: str, expanded: str) -> None:
    tree.put(f"{SYSTEM}/{unit}", f"[Socket]\nFileDescriptorName={written}\n")
    assert tree.read(unit).units[unit].label == expanded


def test_other_specifiers_are_refused(tree: Tree) -> None:
    tree.put(
        f"{SYSTEM}/web.socket",
        "[Socket]\nFileDescriptorName=%H\n[X-Sockreg]\nBind=tcp %m 80\nBind=tcp ::1 %\n",
    )
    allowed = "is not allowed here; only %i %I %j %J %n %N %p %P %% are"
    assert tree.refused("web.socket") == [
        f"etc/systemd/system/web.socket:2: FileDescriptorName=%H: specifier %H {allowed}",
        f"etc/systemd/system/web.socket:4: Bind=tcp %m 80: specifier %m {allowed}",
        f"etc/systemd/system/web.socket:5: Bind=tcp ::1 %: specifier % {allowed}",
    ]


def test_label_is_the_last_valid_name(tree: Tree) -> None:
    path = tree.put(
        f"{SYSTEM}/web.socket",
        "[Socket]\nFileDescriptorName=first\nFileDescriptorName=sec:ond\n"
        "[Service]\nFileDescriptorName=third\n",
    )
    rules = tree.read("web.socket", notices=1)
    assert rules.units["web.socket"].label == "first"
    assert list(map(str, rules.notices)) == [
        f"{path}:3: systemd ignores FileDescriptorName=sec:ond: the name contains ':'"
    ]
    tree.put(f"{SYSTEM}/web.socket.d/a.conf", "[Socket]\nFileDescriptorName=\n")
    assert tree.read("web.socket", notices=1).units["web.socket"].label == "web.socket"


def test_unit_name_that_is_no_label_needs_another(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/w:b.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    assert tree.refused("w:b.socket") == [
        (
            "etc/systemd/system/w:b.socket:2: the label 'w:b.socket' of w:b.socket contains ':'; "
            "set FileDescriptorName="
        )
    ]
    tree.put(f"{SYSTEM}/w:b.socket.d/a.conf", "[Socket]\nFileDescriptorName=web\n")
    assert shown(tree.read("w:b.socket")) == ["web: bind tcp ::1 80"]


def test_dropins_add_and_reset_rules(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 1\nPass=tcp ::1 2\n")
    tree.put(f"{SYSTEM}/web.socket.d/10.conf", "[X-Sockreg]\nBind=tcp ::1 3\n")
    assert shown(tree.read("web.socket")) == [
        "web.socket: bind tcp ::1 1",
        "web.socket: bind tcp ::1 3",
        "web.socket: pass tcp ::1 2",
    ]
    tree.put("usr/lib/systemd/system/socket.d/05.conf", "[X-Sockreg]\nBind=\nBind=tcp ::1 4\n")
    assert shown(tree.read("web.socket")) == [
        "web.socket: bind tcp ::1 4",
        "web.socket: bind tcp ::1 3",
        "web.socket: pass tcp ::1 2",
    ]


def test_a_reset_in_a_conf_file_leaves_units_alone(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 1\n")
    tree.put("etc/sockreg/a.conf", "[web.socket]\nBind=\nBind=tcp ::1 2\n")
    assert shown(tree.read("web.socket")) == [
        "web.socket: bind tcp ::1 1",
        "web.socket: bind tcp ::1 2",
    ]


def test_only_our_part_of_a_unit_is_checked(tree: Tree) -> None:
    tree.put(
        f"{SYSTEM}/web.socket",
        "early\n[Socket]\nListenStream\nSome=thing\n[X-Other]\nBind=x\n[Socket\nBind=x\n"
        "[X-Sockreg]\nBind=tcp ::1 1\n",
    )
    assert shown(tree.read("web.socket")) == ["web.socket: bind tcp ::1 1"]
    tree.put(f"{SYSTEM}/web.socket.d/a.conf", "[X-Sockreg]\nBinde=x\nword\n[X-Sockreg\n")
    assert tree.refused("web.socket") == [
        "etc/systemd/system/web.socket.d/a.conf:3: 'word' is not KEY=VALUE",
        (
            "etc/systemd/system/web.socket.d/a.conf:2: "
            "unknown key 'Binde': Bind=, Reject=, Pass=, Label=, Weight=, Reuseport=, Flows=, "
            "Drain= expected"
        ),
        "etc/systemd/system/web.socket.d/a.conf:4: '[X-Sockreg' lacks its ']'",
    ]


def test_unit_and_conf_file_may_tie(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", "[X-Sockreg]\nBind=tcp ::1 80\n")
    tree.put("etc/sockreg/a.conf", "[other]\nBind=tcp ::1 80\n")
    assert tree.refused("web.socket") == [
        (
            "etc/sockreg/a.conf:2: Bind=tcp ::1 80 (other) ties with Bind=tcp ::1 80 (web.socket) "
            "of etc/systemd/system/web.socket:2"
        )
    ]


def test_unit_under_an_alias_counts_once(tree: Tree) -> None:
    tree.put(f"{SYSTEM}/web.socket", WANTING)
    tree.link(f"{SYSTEM}/www.socket", "web.socket")
    tree.enable("www.socket", "sockets.target")
    rules = tree.read()
    assert list(rules.units) == ["web.socket"]
    assert shown(rules) == ["web.socket: bind tcp ::1 80"]


def test_actions_of_bindings(tree: Tree) -> None:
    tree.put("etc/sockreg/a.conf", "[a]\nBind=tcp ::1 1\nReject=tcp ::1 2\nPass=tcp ::1 3\n")
    assert [b.action for b in tree.read().bindings] == [Action.BIND, Action.REJECT, Action.PASS]


def test_problems_are_records(tree: Tree) -> None:
    path = tree.put("etc/sockreg/a.conf", "[a]\nBind=tcp ::1 80\nBind=ftp ::1 80\n")
    other = tree.put("etc/sockreg/b.conf", "[b]\nBind=tcp ::1 80\n")
    _, report = examine_rule_set(str(tree.root))
    assert report.problems == [
        Problem(
            Place(path, 3), "Bind=ftp ::1 80: protocol 'ftp': 'tcp' or 'udp' expected", Kind.LINE
        ),
        Problem(
            Place(other, 2),
            f"Bind=tcp ::1 80 (b) ties with Bind=tcp ::1 80 (a) of {path}:2",
            Kind.TIE,
        ),
    ]
