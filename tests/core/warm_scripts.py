"""Small scripts that must do warm what they do in a process of their own.

Each is a name, the text of `body.py`, and where they are not the usual ones the words of the
command; PYTHON stands for the interpreter. What varies by nature (pids, paths of the run directory)
is replaced by the test before it compares.
"""

from __future__ import annotations

PLAIN = ["PYTHON", "body.py", "one", "two words", "*"]

SCRIPTS: list[tuple[str, str, list[str]]] = [
    ("arguments", "import sys; print(sys.argv)", PLAIN),
    ("original arguments", "import sys; print(sys.orig_argv)", PLAIN),
    ("awkward arguments", "import sys; print(ascii(sys.argv))", [*PLAIN, "a'b\"$;\n é\udcff"]),
    ("path", "import sys; print(sys.path)", PLAIN),
    ("path of a script elsewhere", "", ["PYTHON", "below/other.py"]),
    ("path of a linked script", "", ["PYTHON", "link.py"]),
    ("script with a dot", "import sys; print(sys.argv, __file__)", ["PYTHON", "./body.py"]),
    ("absolute script", "import sys; print(sys.argv, __file__)", ["PYTHON", "HERE/body.py"]),
    ("directory", "import os; print(os.getcwd(), os.listdir('below'))", PLAIN),
    ("environment", "import os; print(sorted(os.environ.items()))", PLAIN),
    ("variables of a child", "import os; os.system('env | sort')", PLAIN),
    ("main", "print(sorted(globals().items(), key=lambda item: item[0]))", PLAIN),
    (
        "main module",
        "import sys; m = sys.modules['__main__']; print(m, m.__dict__ is globals())",
        PLAIN,
    ),
    ("annotations", "x: int = 3\nprint(__annotations__)", PLAIN),
    ("docstring", "'''The text.'''\nprint(__doc__)", PLAIN),
    ("modules", "import sys; print(sorted(sys.modules))", PLAIN),
    ("flags", "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)", PLAIN),
    (
        "options",
        "import sys; print(sys.flags)",
        ["PYTHON", "-O", "-W", "error", "-Xutf8", "body.py"],
    ),
    ("isolated", "import sys; print(sys.path, sys.flags)", ["PYTHON", "-I", "body.py"]),
    ("executable", "import sys; print(sys.executable, sys.prefix, sys.argv[0])", PLAIN),
    (
        "streams",
        "import sys\nfor s in sys.stdin, sys.stdout, sys.stderr, sys.__stdout__:\n"
        " print(s, s.encoding, s.errors, s.line_buffering, s.write_through, s.mode, s.fileno(),"
        " s.isatty(), s.seekable(), s.newlines)",
        PLAIN,
    ),
    ("unbuffered", "import os\nprint(1)\nos.write(1, b'2')\nprint(3)", ["PYTHON", "-u", "body.py"]),
    ("buffered", "import os\nprint(1)\nos.write(1, b'2')\nprint(3)", PLAIN),
    ("tell", "import sys\nprint(123); sys.stdout.flush(); print(sys.stdout.tell())", PLAIN),
    ("input", "import sys; print(repr(sys.stdin.read()), sys.stdin.buffer.raw.fileno())", PLAIN),
    (
        "descriptors",
        "import os; print(sorted(os.listdir('/proc/self/fd')), os.open('/', 0))",
        PLAIN,
    ),
    ("binary output", "import sys; sys.stdout.buffer.write(bytes(range(256)))", PLAIN),
    ("unicode output", "print('\\u2603\\udc80')", PLAIN),
    ("closed output", "import os; print(1); os.close(1)", PLAIN),
    ("output is full", "import os\nos.dup2(os.open('/dev/full', 1), 1)\nprint(1)", PLAIN),
    ("closed standard output object", "import sys; sys.stdout.close()", PLAIN),
    ("exit 0", "import sys; sys.exit()", PLAIN),
    ("exit 3", "import sys; sys.exit(3)", PLAIN),
    ("exit 256 + 7", "import sys; sys.exit(263)", PLAIN),
    ("exit -1", "import sys; sys.exit(-1)", PLAIN),
    ("exit with text", "import sys; sys.exit('that was it')", PLAIN),
    ("exit with a list", "import sys; sys.exit([1, 2])", PLAIN),
    ("exit without sys", "raise SystemExit(True)", PLAIN),
    ("exit by os", "import os; print('lost'); os._exit(5)", PLAIN),
    ("exception", "def f():\n    return 1 / 0\n\nf()", PLAIN),
    (
        "chained",
        "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e",
        PLAIN,
    ),
    ("exception group", "raise ExceptionGroup('g', [ValueError(1), KeyError(2)])", PLAIN),
    ("exception with notes", "e = ValueError('a'); e.add_note('more'); raise e", PLAIN),
    (
        "own hook",
        "import sys; sys.excepthook = lambda *a: print(a[0], a[2].tb_lineno)\n1 / 0",
        PLAIN,
    ),
    (
        "last exception",
        "import atexit, sys, traceback\natexit.register(lambda:"
        " traceback.print_tb(sys.last_traceback))\n1 / 0",
        PLAIN,
    ),
    ("keyboard interrupt", "raise KeyboardInterrupt", PLAIN),
    ("interrupted", "import os, signal; os.kill(os.getpid(), signal.SIGINT)", PLAIN),
    ("syntax error", "x = 1\ny = (2\n", PLAIN),
    ("another encoding", "# coding: latin-1\nprint(ascii('\u00e9'))", PLAIN),
    ("bad encoding", "x = '\udcff'", PLAIN),
    ("nothing", "", PLAIN),
    ("missing script", "", ["PYTHON", "missing.py"]),
    ("a directory", "", ["PYTHON", "below"]),
    ("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", PLAIN),
    ("terminated", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", PLAIN),
    ("aborted", "import os; os.abort()", PLAIN),
    ("broken pipe", "import os\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'1')", PLAIN),
    (
        "signals",
        "import signal\nprint([(s, str(signal.getsignal(s))) for s in sorted("
        "signal.valid_signals())], signal.pthread_sigmask(0, ()))",
        PLAIN,
    ),
    ("signals of a child", "import os; os.system('grep ^Sig[BIC] /proc/self/status')", PLAIN),
    (
        "handler",
        "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *a: print('heard'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)",
        PLAIN,
    ),
    ("alarm", "import signal\nsignal.alarm(1)\nsignal.pause()", PLAIN),
    (
        "at exit",
        "import atexit\natexit.register(print, 'second')\natexit.register(print, 'first')\n"
        "print('main')",
        PLAIN,
    ),
    ("at exit after an error", "import atexit\natexit.register(print, 'end')\n1 / 0", PLAIN),
    ("names at exit", "import atexit\natexit.register(lambda: print(sorted(globals())))", PLAIN),
    (
        "names at exit after an error",
        "import atexit\natexit.register(lambda: print(sorted(globals())))\n1 / 0",
        PLAIN,
    ),
    (
        "names at exit after sys.exit",
        "import atexit\natexit.register(lambda: print(sorted(globals())))\nraise SystemExit(3)",
        PLAIN,
    ),
    (
        "a thread outlives main",
        "import threading, time\ndef f():\n    time.sleep(0.2)\n    print('late')\n"
        "threading.Thread(target=f).start()\nprint('main')",
        PLAIN,
    ),
    (
        "thread that fails",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\nt.start()\n"
        "t.join()\nprint(threading.current_thread(), threading.main_thread() is"
        " threading.current_thread(), threading.active_count())",
        PLAIN,
    ),
    (
        "signal to the main thread",
        "import signal, threading\nsignal.signal(signal.SIGUSR1, lambda *a: print('heard'))\n"
        "signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)\n"
        "print(threading.get_native_id() == __import__('os').getpid())",
        PLAIN,
    ),
    (
        "main thread for libc",
        "import ctypes, os, threading, time\nc = ctypes.CDLL(None)\nhead = ctypes.c_size_t()\n"
        "size = ctypes.c_size_t()\nc.syscall(274, 0, ctypes.byref(head), ctypes.byref(size))\n"
        "clock = time.pthread_getcpuclockid(threading.main_thread().ident)\n"
        "print(~clock >> 3 == os.getpid(), head.value != 0, size.value)",
        PLAIN,
    ),
    ("unclosed file", "f = open('out', 'w'); f.write('kept')", PLAIN),
    (
        "finalizers",
        "class A:\n    def __del__(self): print('gone')\na = A(); b = [a]; b += [b]",
        PLAIN,
    ),
    ("unraisable", "class A:\n    def __del__(self): 1 / 0\nA()", PLAIN),
    ("warning", "import warnings; warnings.warn('careful')\nwarnings.warn('again')", PLAIN),
    (
        "deprecated syntax",
        "x = '\\\\d' if 1 else '\\d'\nprint(x)",
        ["PYTHON", "-Wdefault", "body.py"],
    ),
    ("syntax warning", "def f():\n    return 1 is 1\nprint(f())", PLAIN),
    ("resource warning", "open('body.py')", ["PYTHON", "-Wdefault", "body.py"]),
    ("logging", "import logging; logging.warning('a'); logging.error('b')", PLAIN),
    (
        "processes by fork",
        "import multiprocessing as m\nif __name__ == '__main__':\n"
        "    with m.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1, -2]))",
        PLAIN,
    ),
    (
        "processes by spawn",
        "import multiprocessing as m\ndef f(x): return x * 2\nif __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool: print(pool.map(f, [1, 2]))",
        PLAIN,
    ),
    (
        "subprocess",
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(5)'],"
        " capture_output=True))",
        PLAIN,
    ),
    ("fork", "import os\nif os.fork():\n    print(os.wait()[1])\nelse:\n    os._exit(4)", PLAIN),
    (
        "asyncio",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 4\n"
        "print(asyncio.run(f()))",
        PLAIN,
    ),
    (
        "groups",
        "import os\nprint(os.getpgrp() == os.getpid(), os.getsid(0) == os.getppid(),"
        " os.umask(0), os.getpriority(0, 0), len(os.sched_getaffinity(0)))",
        PLAIN,
    ),
    (
        "limits",
        "import resource as r\nprint([(n, r.getrlimit(getattr(r, n))) for n in sorted(dir(r))"
        " if n.startswith('RLIMIT_') and n != 'RLIMIT_MSGQUEUE'])",
        PLAIN,
    ),
    ("usage of children", "import resource as r; print(r.getrusage(r.RUSAGE_CHILDREN)[0])", PLAIN),
    ("name of the process", "print(open('/proc/self/comm').read())", PLAIN),
    ("command of the process", "print(open('/proc/self/cmdline', 'rb').read())", PLAIN),
    (
        "environment of the process",
        "print(sorted(open('/proc/self/environ', 'rb').read().split(b'\\0')))",
        PLAIN,
    ),
    ("memory", "x = [bytearray(1 << n) for n in range(26)]; print(len(x))", PLAIN),
    ("clock", "import time; print(time.process_time() < 5, time.tzname)", PLAIN),
    ("locale", "import locale; print(locale.setlocale(0), locale.getencoding())", PLAIN),
    ("a module beside it", "import beside; print(beside.__file__, beside.value)", PLAIN),
    ("a module that shadows", "import colorsys; print(colorsys.__file__)", PLAIN),
    ("pickle of main", "import pickle\nclass A: pass\nprint(pickle.dumps(A()))", PLAIN),
    ("inspection", "import inspect\ndef f(): pass\nprint(inspect.getsource(f))", PLAIN),
    ("dataclass", "from dataclasses import *\n@dataclass\nclass A: x: int = 1\nprint(A())", PLAIN),
    ("recursion", "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)", PLAIN),
    ("garbage", "import gc; print(gc.isenabled(), gc.get_threshold(), gc.garbage)", PLAIN),
    ("imports", "import sys; print(sys.meta_path, sys.path_hooks)", PLAIN),
    (
        "profile",
        "import sys; print(sys.gettrace(), sys.getprofile(), sys.getrecursionlimit())",
        PLAIN,
    ),
    ("module", "", ["PYTHON", "-m", "package", "x"]),
    ("module that fails", "", ["PYTHON", "-m", "package.failing", "x"]),
    ("module of the library", "", ["PYTHON", "-m", "platform"]),
    ("missing module", "", ["PYTHON", "-m", "no_such_module"]),
    (
        "text",
        "",
        ["PYTHON", "-c", "import sys; print(sys.argv, sys.path, sorted(globals()), 1)", "x"],
    ),
    ("text that fails", "", ["PYTHON", "-c", "def f():\n 1 / 0\nf()"]),
    ("text that is wrong", "", ["PYTHON", "-c", "("]),
    ("text that exits", "", ["PYTHON", "-B", "-c", "import sys; print(__loader__); sys.exit(4)"]),
    ("package without main", "", ["PYTHON", "-m", "package.inner"]),
]

# What a module may do with signals when it is imported, and what a run then sees of it.
HANDLES = """
import faulthandler, os, signal
ends = []
def told(number, frame):
    print("told", number, flush=True)
def ended(number, frame):
    ends.append(os.waitpid(-1, os.WNOHANG)[1])
for one in signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1:
    signal.signal(one, told)
signal.signal(signal.SIGCHLD, ended)
signal.signal(signal.SIGINT, signal.SIG_IGN)
faulthandler.register(signal.SIGUSR2)
"""
HANDLED = """
import handles, os, signal, time
print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
for one in "TERM", "HUP", "USR1", "INT", "USR2":
    os.kill(os.getpid(), getattr(signal, "SIG" + one))
assert "most recent call first" in open("stderr.txt").read()
if os.fork() == 0:
    os._exit(3)
deadline = time.monotonic() + 10
while not handles.ends and time.monotonic() < deadline:
    time.sleep(0.01)
print("ended", handles.ends)
"""
