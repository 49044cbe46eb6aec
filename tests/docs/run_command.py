"""Does a command in the process at hand, for tests that start processes with all of it imported."""

import os
import runpy
import subprocess
import sys


def run(words: list[str], environment: dict[str, str], log: str) -> None:
    """Does what a shell does with a command's words; what it says goes to the end of a file."""
    for stream, path in enumerate((os.devnull, log, log)):
        with open(path, 'a' if stream else 'r') as file:
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    program, *rest = words
    if program == 'mmtrtvit' or rest[:2] == ['-m', 'mmtrtvit']:
        from mmtrtvit.__main__ import entry

        sys.argv = ['mmtrtvit', *(rest if program == 'mmtrtvit' else rest[2:])]
        entry()
    elif program != 'python':
        sys.exit(subprocess.run(words, check=False).returncode)
    elif rest[0] == '-m':
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name='__main__', alter_sys=True)
    elif rest[0] == '-c':
        exec(rest[1], {})
    else:
        sys.argv = rest
        sys.path.insert(0, os.path.dirname(os.path.abspath(rest[0])))
        runpy.run_path(rest[0], run_name='__main__')
