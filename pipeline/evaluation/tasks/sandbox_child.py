"""Runs one program and its checks where it can do no harm. Started by sandbox.py as a process of its own.

A script, not a module: it imports the standard library alone. What it reads on its standard input
is JSON: program, checks, secret, cpu_seconds, memory_bytes. When every check has held it writes the
secret on its standard output; a program that does anything else has not passed. (One that means to
cheat could look for the secret in the frames that called it.)

What holds a program, from the outside in:
1. the system's limits on CPU time, memory, sizes of files, open files and processes;
2. a seccomp filter of Linux: only the system calls named below are let through, and none of them
   makes a process or a socket, signals another process, or opens a file for writing. Where it
   cannot be set, no program is run;
3. an audit hook of Python that forbids the same, for its clear messages.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys

READ_ONLY_MASK = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ALLOWED = {
    "x86_64": {
        0: "read", 1: "write", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 7: "poll", 8: "lseek",
        9: "mmap", 10: "mprotect", 11: "munmap", 12: "brk", 13: "rt_sigaction", 14: "rt_sigprocmask",
        15: "rt_sigreturn", 16: "ioctl", 17: "pread64", 19: "readv", 20: "writev", 21: "access", 23: "select",
        24: "sched_yield", 25: "mremap", 28: "madvise", 32: "dup", 35: "nanosleep", 39: "getpid", 60: "exit",
        63: "uname", 72: "fcntl", 79: "getcwd", 89: "readlink", 96: "gettimeofday", 98: "getrusage",
        99: "sysinfo", 102: "getuid", 104: "getgid", 107: "geteuid", 108: "getegid", 110: "getppid",
        131: "sigaltstack", 158: "arch_prctl", 186: "gettid", 201: "time", 202: "futex",
        204: "sched_getaffinity", 217: "getdents64", 219: "restart_syscall", 228: "clock_gettime",
        229: "clock_getres", 230: "clock_nanosleep", 231: "exit_group", 262: "newfstatat", 267: "readlinkat",
        269: "faccessat", 270: "pselect6", 271: "ppoll", 273: "set_robust_list", 318: "getrandom",
        332: "statx", 334: "rseq", 439: "faccessat2",
    },
    "aarch64": {
        17: "getcwd", 23: "dup", 25: "fcntl", 29: "ioctl", 48: "faccessat", 57: "close", 61: "getdents64",
        62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev", 67: "pread64", 72: "pselect6",
        73: "ppoll", 78: "readlinkat", 79: "newfstatat", 80: "fstat", 93: "exit", 94: "exit_group",
        98: "futex", 99: "set_robust_list", 101: "nanosleep", 113: "clock_gettime", 114: "clock_getres",
        115: "clock_nanosleep", 123: "sched_getaffinity", 124: "sched_yield", 128: "restart_syscall",
        132: "sigaltstack", 134: "rt_sigaction", 135: "rt_sigprocmask", 139: "rt_sigreturn", 160: "uname",
        165: "getrusage", 169: "gettimeofday", 172: "getpid", 173: "getppid", 174: "getuid", 175: "geteuid",
        176: "getgid", 177: "getegid", 178: "gettid", 179: "sysinfo", 214: "brk", 215: "munmap",
        216: "mremap", 222: "mmap", 226: "mprotect", 233: "madvise", 278: "getrandom", 291: "statx",
        293: "rseq", 439: "faccessat2",
    },
}  # fmt: skip
"""Number → name of each system call that is let through (Linux: arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h)."""
OPENAT = {"x86_64": 257, "aarch64": 56}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The architecture as the kernel tells it to a filter (linux/audit.h)."""

LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF: load a word, jump if equal, jump if any bit is set, return (linux/bpf_common.h)."""
PASS, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM, SECCOMP_RET_KILL_PROCESS (linux/seccomp.h)."""
NUMBER_AT, ARCHITECTURE_AT, FLAGS_AT = 0, 4, 32
"""Where a filter's data have the call's number, the architecture, and the low word of argument 2."""
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2

FORBIDDEN = (
    "socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.kill",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.chown", "os.utime", "os.setxattr", "os.mkfifo", "os.mknod", "shutil.", "pty.", "ctypes.", "resource.",
    "sqlite3.", "signal.", "webbrowser.", "urllib.", "ftplib.", "http.", "smtplib.",
)  # fmt: skip
"""Beginnings of audit events (Python's documentation, "Audit events table")."""

PRINTED_BYTES = 1 << 20
"""What a program may print: its streams are files that were opened for it, the only ones it can write to."""


def limit(cpu_seconds: int, memory_bytes: int) -> None:
    """What the system enforces. The processes' limit does not bind root: there the filter does it."""
    bounds = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_DATA: memory_bytes,
        resource.RLIMIT_FSIZE: PRINTED_BYTES,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


def filter_program(machine: str) -> bytes:
    """The filter: allowed calls pass, opening passes for reading, everything else is refused (EPERM)."""
    calls = sorted(ALLOWED[machine])
    steps = [(LOAD, 0, 0, ARCHITECTURE_AT), (EQUAL, 1, 0, AUDIT_ARCH[machine]), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, NUMBER_AT), (EQUAL, 0, 2, OPENAT[machine]), (LOAD, 0, 0, FLAGS_AT)]
    steps += [(ANY_BIT, len(calls), len(calls) + 1, READ_ONLY_MASK)]
    for at, number in enumerate(calls):
        steps.append((EQUAL, len(calls) - at, 0, number))
    steps += [(RETURN, 0, 0, REFUSE), (RETURN, 0, 0, PASS)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def confine() -> None:
    """Set the filter, for good. Raises OSError where the system has none."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in ALLOWED:
        raise OSError(f"there is no seccomp filter for {sys.platform} on {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    program = filter_program(machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    address = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    table = ctypes.create_string_buffer(address, len(address))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(table), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the seccomp filter could not be set")


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """The audit hook: an error for what a program that is asked for a function has no need of."""
    if event == "open":
        writes = isinstance(arguments[2], int) and arguments[2] & READ_ONLY_MASK
        if not writes:
            return
    elif not event.startswith(FORBIDDEN):
        return
    raise PermissionError(f"{event} is not allowed here")


def main() -> None:
    given = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    sys.stdin, sys.stdout = open(os.devnull), open(os.devnull, "w")  # noqa: SIM115
    limit(given["cpu_seconds"], given["memory_bytes"])
    confine()
    sys.addaudithook(refuse)
    space = {"__name__": "program"}
    try:
        exec(compile(given["program"], "program", "exec"), space)
        exec(compile(given["checks"], "checks", "exec"), space)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace"))
        os._exit(1)
    os.write(out, given["secret"].encode())
    os._exit(0)


if __name__ == "__main__":
    main()
