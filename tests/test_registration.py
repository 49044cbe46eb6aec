"""What importing mmtrtvit registers, whichever module is imported first."""

import os
import subprocess
import sys
import textwrap

import pytest

# Everything that mmtrtvit registers, after CODE in a fork of a process with PyTorch alone.
NAMES = """
import contextlib, importlib, os, sys
import cv2, rich.console, torch, torchvision, yaml  # what takes the time

def names():
    import mmengine.fileio.backends.registry_utils as fileio
    from mmengine.registry import Registry, root
    from mmengine.runner.checkpoint import CheckpointLoader

    found = {name: each.module_dict for name, each in vars(root).items()
             if isinstance(each, Registry)}
    found.update(backends=fileio.backends, schemes=CheckpointLoader._schemes)
    return {(kind, name) for kind, entries in found.items() for name, entry in entries.items()
            if entry.__module__.startswith('mmtrtvit.')}

EXPECTED = {
    ('MODELS', 'TRTViT'), ('MODELS', 'EfficientViT'), ('MODELS', 'EfficientViTFPN'),
    ('HOOKS', 'AGCHook'), ('HOOKS', 'StreamHook'), ('LOOPS', 'StreamLoop'),
    ('DATA_SAMPLERS', 'StreamSampler'), ('DATASETS', 'SeededSamples'),
    ('HOOKS', 'CheckWeightsHook'), ('HOOKS', 'EpochSeedHook'), ('HOOKS', 'FiniteHook'),
    ('HOOKS', 'FuseHook'), ('HOOKS', 'InterruptionHook'), ('LOOPS', 'EpochLoop'),
    ('HOOKS', 'MeanLossHook'), ('HOOKS', 'SafeCheckpointHook'), ('HOOKS', 'SpeedHook'),
    ('STRATEGIES', 'ShardedStrategy'), ('MODEL_WRAPPERS', 'CPUDistributedDataParallel'),
    ('VISBACKENDS', 'PictureBackend'), ('FUNCTIONS', 'keep_worker_seed'),
    ('FUNCTIONS', 'wrap_blocks'), ('backends', 'atomic'), ('schemes', 'timm://')}

def check(code):
    '''Returns the exit code of a fork that runs the code and compares the names.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        exec(code, {'sys': sys})
        missing = EXPECTED - names()
        print(code, 'misses', missing, file=sys.stderr) if missing else None
        status = bool(missing)
    except BaseException as error:
        import traceback
        traceback.print_exc()
        print('after', code, file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)
"""


MM = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg', 'mmtrtvit')


@pytest.fixture(scope='module')
def loaded():
    """Names of all modules that our and the MM packages load: theirs, and those of others."""
    code = 'import mmtrtvit, mmengine, mmdet, mmseg, sys; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    ours = [name for name in names if name.partition('.')[0] in MM]
    return ours, [name for name in names if name not in ours and name != '__main__']


def run(code):
    done = subprocess.run(
        [sys.executable, '-c', NAMES + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr


pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')

ORDERS = [
    'import mmtrtvit, mmengine',
    'import mmengine, mmtrtvit',
    'import mmtrtvit\nfrom mmengine.config import Config',
    'import mmdet, mmtrtvit',
    'import mmtrtvit, mmseg',
    'from mmtrtvit.models import TRTViT, EfficientViT, fuse',
    'from mmtrtvit.engine import load',
    'import mmtrtvit.runtime\nfrom mmengine.registry import MODELS\nassert MODELS.get("TRTViT")',
    # asking where a package is does not import it
    'import mmtrtvit, importlib.util\nimportlib.util.find_spec("mmengine")\nimport mmengine',
    'import mmtrtvit, mmengine\nassert type(mmengine.__loader__).__name__ == "SourceFileLoader"\n'
    'assert mmengine.__spec__.loader is mmengine.__loader__',
    'import mmtrtvit\nfrom mmdet.registry import MODELS\nassert MODELS.get("TRTViT")',
    'import mmtrtvit\nfrom mmseg.registry import MODELS\nassert MODELS.get("EfficientViTFPN")',
]


def preload(loaded):
    """Code that loads the modules of others, which forks then need not."""
    return f"""
        for name in {loaded[1]}:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        assert not {{*{MM}}} & {{*sys.modules}}
    """.strip()


def test_everything_is_registered_in_any_order(loaded):
    run(f"""
        {preload(loaded)}
        failed = [code for code in {ORDERS!r} if check(code)]
        sys.exit(f'{{failed}}' if failed else 0)
    """)


@pytest.mark.slow
def test_any_module_may_be_the_first(loaded):
    """Each that registration loads may import MMEngine, and with it registration, half-way."""
    ours = [name for name in loaded[0] if name.startswith('mmtrtvit.')]
    assert len(ours) > 30
    run(f"""
        {preload(loaded)}
        failed = [name for name in {ours} if check(f'import {{name}}')]
        sys.exit(f'{{failed}}' if failed else 0)
    """)


@pytest.mark.parametrize('name', ['mmengine', 'mmtrtvit.models'])
def test_another_thread_imports_meanwhile(name):
    """One thread imports a package while another is inside ``import mmengine``."""
    run(f"""
        sys.exit(check('''if True:
            import importlib, threading, time
            import mmtrtvit

            errors = []

            def other():
                try:
                    importlib.import_module('{name}')
                    from mmengine.registry import MODELS
                    assert MODELS.get('TRTViT')
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=other)

            class Start:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    if name == 'mmengine.config' and not thread.ident:
                        thread.start()
                        time.sleep(0.5)  # the other one comes to wait for MMEngine

            sys.meta_path.insert(0, Start)
            import mmengine
            thread.join()
            assert thread.ident and not errors, errors
        '''))
    """)


def test_an_error_of_registration_is_not_hidden():
    run("""
        code = '''if True:
            import mmtrtvit
            sys.modules['mmtrtvit.models'] = None
            try:
                import mmengine
            except ModuleNotFoundError as error:
                assert 'mmtrtvit.models' in str(error)
            else:
                raise AssertionError('no error')
            del sys.modules['mmtrtvit.models']
        '''
        sys.exit(check(code))
    """)
