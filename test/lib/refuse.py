"""refuse.py NUMBER ERRNO COMMAND...: the command, to which the system call of this number is refused, as by a container's filter."""
import ctypes, os, struct, sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF of linux/filter.h
ERRNO, ALLOW = 0x00050000, 0x7FFF0000  # linux/seccomp.h
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38

number, errno, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
steps = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *s) for s in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, 2, program)):
    if prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execvp(command[0], command)
