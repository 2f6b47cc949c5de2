"""What ``sockreg help TOPIC`` explains: what belongs to no verb, each on one screen."""

from __future__ import annotations

_SYNTAX = """\
A rule is a line of section [X-Sockreg] of a .socket unit, or of a section named
after the label in a file *.conf in /etc/sockreg:

  Bind=PROTO PREFIX PORTS [CONDITION...]     lead packets to the label
  Reject=PROTO PREFIX PORTS [CONDITION...]   refuse them
  Pass=PROTO PREFIX PORTS [CONDITION...]     leave them to ordinary lookup

  PROTO      tcp or udp
  PREFIX     192.0.2.0/24, 2001:db8::1, 192.0.2.10-192.0.2.50, @NAME of a set,
             or a list of these with commas
  PORTS      80, 8000-8999, https, 80,443, or * for all

No condition is needed. There are

  to PORT         the listener of the label that has this port
  from PREFIX     only packets from these addresses
  dev INTERFACE   only packets that arrive there
  missing=pass    without a socket, leave packets to ordinary lookup
  until=TIME      the rule ends by itself, such as 2026-11-27T02:00:00Z

The longest PREFIX wins, then the fewest ports, then dev, then the longest from.
'sockreg apply --check' says what the files would change.
"""

_LABELS = """\
A label is the name by which rules find sockets: 1 to 255 printable ASCII
characters without ':'. A socket gets its label from, first to last,

  Label=                 in [X-Sockreg] of its .socket unit
  FileDescriptorName=    in [Socket] of its unit
  the name of the unit   with .socket, if neither is set

'sockreg register LABEL' gives one to sockets of processes without such a unit.
A label belongs to one unit. Units share it, and its traffic, if each of them
sets Weight= in [X-Sockreg]. 'sockreg status' shows all labels.
"""

_FILES = """\
Rules are in .socket units, and in *.conf of these directories. A file hides
those of the same name in later ones:

  /etc/sockreg  /run/sockreg  /usr/local/lib/sockreg  /usr/lib/sockreg

'sockreg bind' writes /etc/sockreg/90-bind.conf, or with --runtime
/run/sockreg/91-bind-runtime.conf. The rules of NAME.socket count while
sockreg@NAME.service is enabled or started.

Files change nothing until 'sockreg apply' or 'systemctl reload sockreg'. What
is in force is in /sys/fs/bpf/sockreg, a directory for each network namespace.
"""

_STATUSES = """\
   0  done
   1  the kernel or the system refused, or output could not be written
   2  the command line is wrong
   4  a capability or a file permission is missing
   7  nothing is loaded in this network namespace
   8  done in part; the messages say what was left out
   9  a socket, a program or a rule was refused: wrong kind, conflict, not ours
  10  the loader failed to start again; what was in force stays in force
  75  another sockreg process holds the lock
  78  a rule or a file is wrong; the rules in force stay in force
 130  Ctrl-C

'systemctl status' gives names to some of them, which mean the same.
"""

_ENVIRONMENT = """\
LISTEN_FDS, LISTEN_PID, LISTEN_PIDFDID, LISTEN_FDNAMES
    the sockets passed to register, send and metrics --serve (sd_listen_fds(3))
SOCKREG_BPFFS
    the bpffs for units; verbs take --bpffs
SYSTEMD_COLORS, NO_COLOR, TERM
    whether lines have colours, as for systemctl(1)
JOURNAL_STREAM
    set by systemd; messages go to the journal with fields, once
NOTIFY_SOCKET
    set by systemd; load and apply tell the rules in force to 'systemctl status'
"""

_JSON = """\
With --json, a command prints one object for programs:

  {"schema": "sockreg.KIND", "version": 1, "KIND": ...}

A command that fails prints sockreg.error with the exit status, what is wrong
and what to do, unless it has printed an object before. Times are nanoseconds
since the epoch. Programs should ignore members that they do not know. Each kind
has a JSON Schema in docs/schemas of the source tree.
"""

TOPICS = {
    "syntax": _SYNTAX,
    "labels": _LABELS,
    "files": _FILES,
    "exit-status": _STATUSES,
    "environment": _ENVIRONMENT,
    "json": _JSON,
}
