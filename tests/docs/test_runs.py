"""The commands in the docs' blocks run, page by page, in a folder such as a reader has.

Small models of the same kind stand in the places of the configs, and a few generated images in
those of the data. The commands themselves are as printed, but for what a reader puts in.
"""

import multiprocessing
import os
import pickle
import re
import shlex
import shutil
from glob import glob
from pathlib import Path

import cv2
import pytest
import timm
import torch
from label_files import label_files
from pages import OTHERS, commands
from run_command import run

from mmtrtvit import config_path
from mmtrtvit.datasets import make_shape_folders, make_shapes

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')))
    if '```bash' in path.read_text()
]
# Commands of ours that are not run here, by a part of them, and why.
ELSEWHERE = {
    'mmtrtvit demo': 'takes minutes; tests/engine/test_demo.py',
    'tools/infer.py CONFIG CHECKPOINT 0 --show': 'a camera and a screen; tests/test_media.py',
    '--device cuda': 'a GPU; benchmarks',
    'transfer.py --coco': 'takes minutes until a detector finds something; '
    'tests/analysis/test_benchmarks.py',
    'density.py': 'times blocks until it is certain; tests/analysis/test_density.py',
    'guidelines.py': 'times blocks until it is certain; tests/analysis/test_guidelines.py',
    'import finish': 'what a killed process left; tests/runtime/test_results.py',
    'hf://': 'the network; tests/publish/test_push.py',
    'timm://': 'the network; tests/weights',
    'onnx2tensorrt.py': 'TensorRT; tests/deploy/backends/tensorrt',
    'end2end.engine': 'TensorRT; tests/deploy/backends/tensorrt',
    'check_tensorrt.py': 'TensorRT; tests/deploy/backends/tensorrt',
    '--server': 'a server of Triton; tests/runtime/sessions',
    'train_trtvit.py': "timm's train.py, which is not in its package",
    'dist_train.sh': 'several processes; tests/tools/test_distributed.py',
    'dist_test.sh': 'several processes; tests/tools/test_distributed.py',
}
# How a command ends that does all it can without TensorRT: the ONNX file is written.
NO_ENGINE = 3
# What a reader puts in, on some pages and on any.
RUN = 'work_dirs/retinanet_trtvit_b'
WORDS_OF_A_PAGE = {
    'docs/analyses.md': {
        r'\bCONFIG(_2)?\b': 'configs/demo/mask_rcnn_efficientvit_m2.py',
        r'\bCHECKPOINT(_2)?\b': 'mask_rcnn.pth',
    },
    'docs/classification.md': {
        r'work_dirs/CONFIG/': 'work_dirs/demo_efficientvit_m2/',
        r'\bCONFIG\b': 'configs/classification/demo_efficientvit_m2.py',
        r'\bCHECKPOINT\b': 'work_dirs/demo_efficientvit_m2',
        r'/path/to/images': 'classes',
    },
    'docs/distill.md': {r'/path/to/images': 'data/shape_folders'},
    'docs/first_detector.md': {
        r'max_epochs=6, val_interval=6': 'max_epochs=1',
        r'\bmodel = dict\(': 'model = dict(test_cfg=dict(score_thr=0.0),',
    },
}
WORDS = {
    r'\bCONFIG\b': 'configs/demo/retinanet_trtvit_b.py',
    r'\bCHECKPOINT\b': RUN,
    r'\bRUN2\b': 'work_dirs/second',
    r'\b(RUN1|RUN|WORK_DIR)\b': RUN,
    r'\bMODEL_DIR\b': f'{RUN}/deploy',
    r'\bIMAGES\b': 'data/shapes/images/validation',
    r'\bIMAGE\b': 'street.jpg',
    r'\bFILES?\b': f'{RUN}/deploy/end2end.onnx',
    r'<name>': 'retinanet_trtvit_b',
    r'/path/to/annotations.xml': 'cvat/annotations.xml',
    r'/path/to/export.json': 'label-studio/export.json',
    r'/path/to/folder': 'cells',
    r'\bmap\.tif': 'scans/BloodImage_00001.tif',
    r'rtsp://camera/stream': 'drive.mp4',
    r'VOCdevkit/VOC2012': 'voc',
    r'/path/to/': '',
    r'\btimm:swin\w+': 'timm:resnet18',
}
# What makes a command short.
SHORTER = {
    r'epoch_\d+\.pth': 'epoch_1.pth',
    r'--duration \d+': '--duration 2',
    r'--shape \d{4}x\d{4}': '--shape 270x480',
    r'((tools/train\.py|mmtrtvit train|mmtrtvit::train\.py) .*)': r'\1 --no-report',
    r'(versus_plain_export.*)': r'\1 --runs 2 --size 64 96',
    r'(make_shapes\.py data/)(.*)': r'\1few_\2 --train 3 --val 3',
    r'(tools/benchmark\.py.*)': r'\1 --rounds 2',
    r'(benchmarks/transfer\.py.*)': r'\1 --model efficientvit_m0 --seeds 0 --epochs 1 --size 128 '
    '--batch 2 --formulas 4 --images 10 --pretrain-epochs 1 --teach-epochs 1 --out transfer.csv',
}
SIZE = 96, 64  # width and height of the images
FOLDERS = (
    'images',
    'photos',
    'holiday',
    'scans',
    'cells',
    'cvat',
    'label-studio',
    'voc/JPEGImages',
    'data/images/train',
    'data/images/val',
    'coco/images',
)
# Small models by what is in the name of a config.
KINDS = {
    'deploy/': None,
    'retinanet|cells': 'retinanet',
    'mask_rcnn': 'mask_rcnn',
    'upernet': 'upernet',
    'fpn|segformer': 'fpn',
    'classif|distill': 'classifier',
}
SMALL = """
_base_ = '{folder}/{kind}.py'
load_from = '{folder}/{kind}.pth'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=0))
"""


@pytest.fixture(scope='module')
def do():
    """Does a line of a block in the current folder; returns its exit code and what it said."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(
        ['torch', 'torchvision', 'mmdet.apis', 'mmseg.apis', 'onnxruntime', 'mmtrtvit.engine']
    )

    def do(line: str) -> tuple[int, str]:
        words, environment = shlex.split(line, comments=True), {}
        while re.match(r'\w+=', words[0]):
            name, _, environment[name] = words.pop(0).partition('=')
        words = [found for word in words for found in sorted(glob(word)) or [word]]
        log = Path('said.txt')
        log.write_text('')
        process = context.Process(target=run, args=(words, environment, str(log.resolve())))
        process.start()
        process.join()
        return process.exitcode, log.read_text()

    return do


@pytest.fixture(scope='module')
def desk(do, small_models, tmp_path_factory):
    """What a reader has before each page: images, data, configs, and one run that is deployed."""
    desk = tmp_path_factory.mktemp('desk')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        for name in ('tools', 'benchmarks', 'docs'):
            Path(name).symlink_to(ROOT / name)
        make_images()
        make_configs([line for page in PAGES for line in commands(page)[0]], small_models)
        for line in (
            f'mmtrtvit train configs/retinanet_trtvit_b.py --work-dir {RUN} --no-report',
            f'mmtrtvit deploy configs/deploy/onnxruntime.py {RUN}/retinanet_trtvit_b.py {RUN} '
            'street.jpg --no-verify',
            'mmtrtvit convert-data labelme cells coco --val 0.2',
        ):
            code, said = do(line)
            assert not code, said
        make_weights(small_models)
        for name in ('demo/retinanet_trtvit_b', 'second', 'run'):
            shutil.copytree(RUN, f'work_dirs/{name}')
        for name in ('normalised', 'resized'):
            shutil.copytree(f'{RUN}/deploy', name)
        Path('my_script.py').write_text('import mmengine\n')
    return desk


def make_images():
    """Images, a video, and labels as other systems write them, of the images in their folders."""
    make_shapes('data/shapes', 4, val=6, size=SIZE[::-1])
    make_shape_folders('data/shape_folders', 6, val=6)
    for split, name in dict(training='train', validation='val').items():
        shutil.copytree(f'data/shape_folders/{split}', f'classes/{name}')
    images = sorted(Path('data/shapes/images/validation').iterdir())
    shutil.copy(images[0], 'street.jpg')
    video = [
        cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*'mp4v'), 10, SIZE)
        for name in ('drive.mp4', 'video.mp4')
    ]
    cells = [Path(f'BloodImage_{index:05}.jpg') for index in range(1, 1 + len(images))]
    files = label_files(cells, *SIZE, ['RBC', 'WBC', 'Platelets'])
    voc = label_files(cells, *SIZE, ['person', 'dog', 'cat'])
    files |= {path: text for path, text in voc.items() if path.startswith('voc/')}
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    for path, cell in zip(images, cells):
        image = cv2.imread(str(path))
        for folder in FOLDERS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(
                f'{folder}/{cell.with_suffix(".tif") if folder == "scans" else cell}', image
            )
        for each in video:
            each.write(image)


def make_configs(lines, small_models):
    """A small model of the kind in the place of each config that the docs name."""
    Path('configs').mkdir()
    Path('configs/deploy').symlink_to(ROOT / 'configs/deploy')
    names = re.findall(r'[\w/]+\.py', '\n'.join(lines))
    names += [*WORDS_OF_A_PAGE['docs/analyses.md'].values()]
    for name in names:
        kind = next((kind for words, kind in KINDS.items() if re.search(words, name)), None)
        if kind and not Path(name).exists():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(SMALL.format(folder=small_models, kind=kind))


def make_weights(small_models):
    """Files of weights that the pages speak of, by their names."""
    Path('work_dirs/classifier').mkdir()
    for kind, names in {
        'classifier': ('work_dirs/classifier/epoch_1.pth', 'trtvit_a.pth'),
        'retinanet': ('retinanet_efficientvit_m4_fpn_1x_coco.pth',),
    }.items():
        for name in names:
            shutil.copy(small_models / f'{kind}.pth', name)
    trained = torch.load(small_models / 'mask_rcnn.pth', weights_only=False)['state_dict']
    for name in trained:
        if name.endswith('bias_table'):
            torch.nn.init.normal_(trained[name])
    torch.save(dict(state_dict=trained), 'mask_rcnn.pth')
    official = timm.create_model('efficientvit_m4')
    torch.save(dict(model=official.state_dict()), 'efficientvit_m4.pth')
    with open('old.pkl', 'wb') as file:
        pickle.dump(dict(state_dict=dict(weight=torch.ones(2))), file)


def as_a_reader_types(text: str, page: str) -> str:
    """The text with what the reader puts in, and with what makes it short."""
    for table in (WORDS_OF_A_PAGE.get(page, {}), WORDS, SHORTER):
        for word, own in table.items():
            text = re.sub(word, own, text)

    def path(match: re.Match) -> str:
        own = f'configs/{match[1]}'
        return own if Path(own).exists() else config_path(match[1])

    return re.sub(r'\$\(mmtrtvit config (\S+)\)', path, text)


def write_config(page: str) -> None:
    """The config for cells that the page shows, for the reader's folders."""
    text = (ROOT / page).read_text()
    for block in re.findall(r'^```python\n(# cells\.py\n.*?)^```', text, re.M | re.S):
        for folder, own in {
            '/path/to/mmtrtvit': '',
            '/path/to/data': '/coco',
            '/home/me': '',
        }.items():
            block = block.replace(folder, os.getcwd() + own)
        Path('cells.py').write_text(as_a_reader_types(block, page))


def elsewhere(line: str) -> bool:
    words = [word for word in line.split() if '=' not in word]
    return words[0] in OTHERS or any(part in line for part in ELSEWHERE)


def test_every_exception_is_of_a_command():
    lines = [line for page in PAGES for line in commands(page)[0]]
    for part in ELSEWHERE:
        assert any(part in line for line in lines), part


@pytest.mark.slow
@pytest.mark.parametrize('page', [str(path.relative_to(ROOT)) for path in PAGES])
def test_blocks(page, desk, do, tmp_path, monkeypatch):
    lines = [line for line in commands(ROOT / page)[0] if not elsewhere(line)]
    if not lines:
        pytest.skip('no commands that run here')
    if page == 'docs/openvino.md':
        pytest.importorskip('openvino')
    shutil.copytree(desk, tmp_path / 'desk', symlinks=True)
    monkeypatch.chdir(tmp_path / 'desk')
    write_config(page)
    wrong = []
    for line in lines:
        typed = as_a_reader_types(line, page)
        code, said = do(typed)
        if code != (NO_ENGINE if 'configs/deploy/tensorrt' in typed else 0):
            wrong.append(f'{typed}\nended with {code}:\n{said[-2000:]}')
    assert not wrong, '\n\n'.join(wrong)
