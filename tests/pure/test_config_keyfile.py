"""systemd.syntax(7): what is an entry, what is a comment, what goes on in the next line."""

from __future__ import annotations

import pytest

from sockreg.systemd.keyfile import Entry, read_sections


def entries(text: str) -> list[tuple[str, int, str, str]]:
    sections = read_sections(text.encode())
    assert [s.problems for s in sections] == [[] for _ in sections]
    return [(s.name, e.line, e.key, e.value) for s in sections for e in s.entries]


def test_sections_keys_and_comments() -> None:
    text = """\
# comment
; comment

[web]
Bind=tcp ::1 80
  Bind  =  tcp ::1 81\t
 # indented comment
Bind=
[:registry]
Counters=no
[web]
Bind=a=b # no comment here
"""
    assert entries(text) == [
        ("web", 5, "Bind", "tcp ::1 80"),
        ("web", 6, "Bind", "tcp ::1 81"),
        ("web", 8, "Bind", ""),
        (":registry", 10, "Counters", "no"),
        ("web", 12, "Bind", "a=b # no comment here"),
    ]


def test_sections_keep_their_line_even_when_empty() -> None:
    sections = read_sections(b"\n[a]\n[b c]\n")
    assert [(s.name, s.line) for s in sections] == [("", 0), ("a", 2), ("b c", 3)]


@pytest.mark.parametrize(
    ("text", "value", "next_line"),
    [
        ("K=one \\\n  two\nN=", "one  two", 4),
        ("K=one\\\n# comment \\\n; comment\ntwo\nN=", "one two", 6),
        ("K=one\\\n\nN=", "one", 4),
        ("K=one\\\\\nN=", "one\\\\", 3),
        ("K=one\\\\\\\ntwo\nN=", "one\\\\ two", 4),
        ("K=one\\ \nN=", "one\\", 3),
        ("K=one\\\ntwo\\\nthree\nN=", "one two three", 5),
        ("K\\\n=one\nN=", "one", 4),
        ("K=one\\\r\ntwo\r\nN=", "one two", 4),
    ],
)
def test_continuation(text: str, value: str, next_line: int) -> None:
    assert entries("[S]\n" + text) == [("S", 2, "K", value), ("S", next_line, "N", "")]


def test_entries_say_where_they_end() -> None:
    (_, section) = read_sections(b"[S]\nK=1\nL=\\\n# comment\n2\nM=3\\\n")
    assert [(e.line, e.end) for e in section.entries] == [(2, 2), (3, 5), (6, 7)]


def test_a_comment_does_not_continue() -> None:
    assert entries("[S]\n# comment \\\nK=v\n") == [("S", 3, "K", "v")]


def test_continuation_at_the_end_of_the_file() -> None:
    assert entries("[S]\nK=v \\") == [("S", 2, "K", "v")]
    assert entries("[S]\nK=v \\\n# comment") == [("S", 2, "K", "v")]


def test_byte_order_mark_and_odd_line_ends() -> None:
    assert entries("\ufeff[S]\r\nK=v\r\nL=\u2028w") == [
        ("S", 2, "K", "v"),
        ("S", 3, "L", "\u2028w"),
    ]


def test_problems_stand_in_their_section() -> None:
    sections = read_sections(b"early=1\nlate\n[S]\nword\nK=1\nL=\xff\n[T\nK=2\n")
    assert [(s.name, s.problems) for s in sections] == [
        (
            "",
            [
                (1, "'early=1' is before the first [section]"),
                (2, "'late' is before the first [section]"),
            ],
        ),
        ("S", [(4, "'word' is not KEY=VALUE"), (6, "b'L=\\xff' is not UTF-8")]),
        ("T", [(7, "'[T' lacks its ']'")]),
    ]
    assert sections[1].entries == [Entry(5, 5, "K", "1")]


def test_long_lines_are_cut_in_messages() -> None:
    (before,) = read_sections(b"\0" * 100_000)
    ((_, text),) = before.problems
    assert text.endswith("...' is before the first [section]")
    assert len(text) < 300
