r"""Exports a trained model to ONNX, OpenVINO or TensorRT, and compares what they find with PyTorch.

Examples:
  python tools/deploy.py configs/deploy/onnxruntime.py CONFIG CHECKPOINT image.jpg
  python tools/deploy.py configs/deploy/onnxruntime.py CONFIG RUN a.jpg --test-img b.jpg c.jpg
  python tools/deploy.py configs/deploy/onnxruntime.py CONFIG RUN a.jpg \
      --cfg-options onnx_config.input_shape="[640,640]"      # WIDTH, HEIGHT: a graph of one size
  python tools/deploy.py configs/deploy/onnxruntime_int8.py CONFIG RUN a.jpg   # INT8, for a CPU
  python tools/deploy.py configs/deploy/onnxruntime_int8.py CONFIG RUN a.jpg \
      --cfg-options calib_config.max_drop=0.5   # layers stay float until AP or mIoU drops by less
  python tools/deploy.py configs/deploy/tensorrt_fp16.py CONFIG RUN a.jpg    # an engine, too
  python tools/deploy.py configs/deploy/openvino_int8.py CONFIG RUN a.jpg    # OpenVINO's model, too
  python tools/test.py CONFIG WORK_DIR/end2end.onnx          # its metrics on the test data

Writes end2end.onnx, the backend's own file (.engine, or .xml and .bin), the drawn predictions of
both sides (output.jpg has them side by side), the descriptions deploy.json, pipeline.json and
detail.json, and deploy_report.json with all numbers that it prints into the work dir. A file of
lower precision is timed beside one of single precision on the given images, and a warning tells
where it is slower.

Exit codes: 0 done, 1 wrong input, 2 a file differs from PyTorch by more than its precision
explains, nothing of it could be compared, or half precision cannot hold its values (all files
stay), 3 a TensorRT deploy config, but no TensorRT or no GPU here: the ONNX file is done and
verified, and the last lines say how to build the engine from it.
"""

import argparse
import logging
from pathlib import Path

from mmtrtvit.arguments import add_timeout
from mmtrtvit.engine.command_line import add_cfg_options, new_parser, run_tool, tell_checkpoint

LEVELS = 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('deploy_cfg', help='deploy config, e.g. one of configs/deploy')
    parser.add_argument('model_cfg', help='config of the model')
    parser.add_argument('checkpoint', help='weights of this model, or the work dir of a run')
    parser.add_argument('img', nargs='?', help='image to compare on and to draw')
    parser.add_argument(
        '--test-img', nargs='+', default=[], metavar='IMG', help='more images to compare on'
    )
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='folder of the results (default: work_dirs/<config name>/deploy)',
    )
    parser.add_argument(
        '--calib-dataset-cfg',
        metavar='CFG',
        help='config whose training images calibrate INT8 and show what half precision has to hold '
        '(default: the config of the model)',
    )
    parser.add_argument('--device', default='cpu', help='cpu, cuda:0, ... (default: %(default)s)')
    add_timeout(
        parser, 'a run of the ONNX file, to calibrate or compare; an engine cannot be stopped'
    )
    parser.add_argument(
        '--no-verify',
        dest='verify',
        action='store_false',
        help='do not compare with PyTorch; what half precision cannot hold is still looked for',
    )
    parser.add_argument(
        '--dump-info',
        action='store_true',
        help="MMDeploy's option; the descriptions are always written",
    )
    parser.add_argument('--show', action='store_true', help='show both results on the screen')
    parser.add_argument(
        '--log-level',
        default='INFO',
        choices=LEVELS,
        help='least level of what is printed (default: %(default)s)',
    )
    add_cfg_options(parser, 'deploy config')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.deploy.report import (
        format_agreement,
        format_differences,
        format_failure,
        format_peaks,
        format_result,
        format_search,
        format_speed,
    )
    from mmtrtvit.deploy.workflow import deploy, read_deploy_config
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.errors import as_called
    from mmtrtvit.media import show

    logging.basicConfig(level=args.log_level, format='%(message)s')
    config = read_config(args.model_cfg)
    settings = read_deploy_config(args.deploy_cfg, config.get('default_scope'), args.cfg_options)
    result = deploy(
        settings,
        config,
        checkpoint=tell_checkpoint(args.checkpoint),
        images=[*filter(None, [args.img]), *args.test_img],
        work_dir=args.work_dir or Path(config.work_dir, 'deploy'),
        device=args.device,
        timeout=args.timeout,
        verify=args.verify,
        calib_config=read_config(args.calib_dataset_cfg) if args.calib_dataset_cfg else None,
    )
    print(f'\n{format_result(result)}')
    for file, differences in result.comparisons.items():
        agreement, what = result.agreements.get(file), f'{file} against PyTorch'
        print(f'\n{format_differences(differences, agreement is None, what)}')
        if agreement:
            print(f'\n{what}: {format_agreement(agreement)}')
    if result.peaks:
        print(f'\n{format_peaks(result.peaks)}')
    if result.search:
        print(f'\n{format_search(result.search)}')
    if result.speed:
        print(f'\n{format_speed(result.speed, result.onnx.name)}')
    for note in result.notes:
        print(f'\n{note}')
    if args.show and result.images:
        show(result.images[-1])
    if not result.verified:
        print(f'\n{as_called(format_failure(result))}')
        raise SystemExit(2)
    if result.not_built:
        print(f'\n{as_called(result.not_built)}')
        raise SystemExit(3)


if __name__ == '__main__':
    run_tool(main, parse_args())
