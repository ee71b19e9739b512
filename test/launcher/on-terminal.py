#!/usr/bin/python3
"""on-terminal.py STEPS CMD…: run CMD on a terminal of its own, as a shell with job control would; STEPS is JSON.

["expect", text]: wait for it in the output; ["send", text]; ["idle", seconds]; ["state", letters]: wait until the job's process is in one of
these states; ["continue"]: as fg does. Prints the job's exit status (or -signal) and its output.
"""
import json, os, pty, select, signal, sys, termios, time

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
ready, go = os.pipe()
pid, master = pty.fork()
if pid == 0:
    # The session leader is a stand-in for the shell: a job needs a parent in its session, or ^Z does not stop it
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execvp(command[0], command)
    os.write(go, job.to_bytes(4, 'little'))
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _, status = os.waitpid(job, 0)
    # Without job control of ours the terminal must belong to the job's group again, or to nobody
    group = os.tcgetpgrp(0)
    os.tcsetpgrp(0, os.getpgrp())
    os.write(go, (os.waitstatus_to_exitcode(status) & 0xffffffff).to_bytes(4, 'little'))
    os.write(go, int(group == job).to_bytes(4, 'little'))
    os._exit(0)
job = int.from_bytes(os.read(ready, 4), 'little')
output = b''
end = time.monotonic() + 15


def pump(wait):
    global output
    if select.select([master], [], [], wait)[0]:
        try:
            output += os.read(master, 65536)
        except OSError:
            time.sleep(wait)


def until(condition, what):
    while not condition():
        if time.monotonic() > end:
            print(json.dumps({'status': f'timeout: {what}', 'output': output.decode(errors='replace')}))
            os.kill(job, signal.SIGKILL)
            sys.exit(1)
        pump(0.05)


def state():
    return open(f'/proc/{job}/stat').read().rpartition(')')[2].split()[0]


at = 0
for verb, *args in steps:
    if verb == 'expect':
        until(lambda: args[0].encode() in output[at:], args[0])
        at = output.index(args[0].encode(), at) + len(args[0])
    elif verb == 'send':
        os.write(master, args[0].encode())
    elif verb == 'idle':
        # what programs do between prompt and wait for input is not to be seen
        time.sleep(args[0])
    elif verb == 'state':
        until(lambda: state() in args[0], args[0])
    elif verb == 'continue':
        os.killpg(job, signal.SIGCONT)
until(lambda: select.select([ready], [], [], 0)[0], 'end')
status = int.from_bytes(os.read(ready, 4), 'little')
restored = int.from_bytes(os.read(ready, 4), 'little')
os.waitpid(pid, 0)
pump(0)
print(json.dumps({'status': status if status < 1 << 31 else status - (1 << 32), 'restored': bool(restored),
                  'output': output.decode(errors='replace')}))
