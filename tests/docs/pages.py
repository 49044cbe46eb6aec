"""What the pages of the docs tell a reader to type."""

import re
from pathlib import Path

# Programs that are none of ours, and why the tests do not run them.
OTHERS = {
    './detect': 'made by g++',
    'docker': 'tests/test_docker.py reads the files; no test has a daemon',
    'env/bin/pip': 'no test has the network',
    'env/bin/python': 'on a Jetson',
    'eval': 'of the shell',
    'g++': 'needs headers that pip does not install',
    'id': 'of the system',
    'java': 'in no extra of ours',
    'javac': 'in no extra of ours',
    'jupyter': "a reader's own",
    'make': 'CI runs make; tests/test_docs.py knows the targets',
    'node': 'in no extra of ours',
    'npm': 'no test has the network',
    'pip': 'no test has the network; test_commands.py reads the extras',
    'pkg-config': 'of the system',
    'python3': 'makes an environment, on a Jetson',
    'sed': 'of the system',
    'tensorboard': 'a server that does not end',
    'tritonserver': 'a server that pip does not install',
    'trtexec': 'comes with TensorRT',
}


def commands(page: Path) -> tuple[list[str], list[str]]:
    """Lines of the blocks of a shell, and what stands in a text between backticks."""
    text = page.read_text()
    blocks = re.findall(r'^```bash\n(.*?)^```', text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    prose = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    spans = [re.sub(r'\s+', ' ', span) for span in re.findall(r'(?<!`)`([^`]+)`(?!`)', prose)]
    ours = re.compile(
        r'(\w+=\S+ )*(python |mmtrtvit \w|torchrun |tools/\w+\.(py|sh) |--cfg-options )'
    )
    return (
        [
            line
            for line in (line.partition(' # ')[0].strip() for line in lines)
            if line[:1] not in '#'
        ],
        [span for span in spans if ours.match(span) and '...' not in span],
    )
