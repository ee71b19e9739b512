"""without-ipv6.py COMMAND...: runs it where socket(AF_INET6) gives EAFNOSUPPORT, as in a kernel without IPv6."""
import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
LD_W_ABS, JEQ, RET = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NR_SOCKET = {"x86_64": 41, "aarch64": 198, "riscv64": 198, "s390x": 359, "ppc64le": 326}[platform.machine()]
LOW = 20 if sys.byteorder == "big" else 16  # seccomp_data.args[0], its lower half

program = [
    (LD_W_ABS, 0, 0, 0),
    (JEQ, 0, 3, NR_SOCKET),
    (LD_W_ABS, 0, 0, LOW),
    (JEQ, 0, 1, 10),
    (RET, 0, 0, ERRNO | errno.EAFNOSUPPORT),
    (RET, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in program))
fprog = struct.pack("HL", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, fprog, 0, 0):
    raise OSError(ctypes.get_errno(), "seccomp")
os.execvp(sys.argv[1], sys.argv[1:])
