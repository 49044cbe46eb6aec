"""MMEngine's backends of the trackers, which here send neither code nor weights.

Where a tracker keeps its runs, who may see them and whether it is online is told by its own
environment variables and its own login: no key ever stands in a config.
"""

import os
import shlex
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mmengine.config import Config
from mmengine.visualization import (
    AimVisBackend,
    ClearMLVisBackend,
    MLflowVisBackend,
    TensorboardVisBackend,
    WandbVisBackend,
)
from mmengine.visualization.vis_backend import force_init_env

from . import TRACKERS

PROJECT = 'mmtrtvit'  # where the environment names none
# What of a config MLflow shows as a table; the whole is kept as a file.
PARAMETERS = ('model', 'train_dataloader', 'optim_wrapper', 'train_cfg', 'randomness', 'load_from')


class Tracker(Protocol):
    """What a training needs of a tracker, beside ``add_config`` and so on of MMEngine's backends.

    Each class is made with the folder of the log and the name of the run.
    """

    def place(self) -> dict[str, str]:
        """Returns where the run is: ``run`` (its id), ``url``, ``folder``, ``look`` (a command)."""

    def end(self, failed: bool) -> None:
        """Ends the run."""


def _command(words: str, place: str) -> str:
    return f'{words} {shlex.quote(place)}'


class TensorBoard(TensorboardVisBackend):
    """Files of events beside those of the log."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(str(folder / 'vis_data'))

    def place(self) -> dict[str, str]:  # noqa: D102
        return dict(folder=self._save_dir, look=_command('tensorboard --logdir', self._save_dir))

    def end(self, failed: bool) -> None:  # noqa: D102
        self.close()


class WeightsAndBiases(WandbVisBackend):
    """A run of W&B, without the Python files of the current folder, which MMEngine uploads."""

    def __init__(self, folder: Path, name: str) -> None:
        given = dict(
            project=os.environ.get('WANDB_PROJECT') or PROJECT,
            name=os.environ.get('WANDB_NAME') or name,
        )
        super().__init__(str(folder), init_kwargs=given)

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:  # noqa: D102
        self._wandb.config.update(config.to_dict())

    def place(self) -> dict[str, str]:  # noqa: D102
        run = self._wandb.run
        folder = str(Path(run.dir).parent)
        look = _command('wandb sync', folder) if run.offline else ''
        return dict(run=run.id, url=run.url or '', folder=folder, look=look)

    def end(self, failed: bool) -> None:  # noqa: D102
        self._wandb.finish(exit_code=int(failed))


class MLflow(MLflowVisBackend):
    """A run where ``MLFLOW_TRACKING_URI`` or else MLflow itself says; MMEngine's are apart."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(str(folder), run_name=name)

    def _init_env(self) -> None:
        import mlflow

        self._mlflow = mlflow
        if not os.environ.get('MLFLOW_EXPERIMENT_ID'):
            mlflow.set_experiment(os.environ.get('MLFLOW_EXPERIMENT_NAME') or PROJECT)
        self._run = mlflow.start_run(run_name=self._run_name)

    @force_init_env
    def add_config(self, config: Config, **kwargs: Any) -> None:  # noqa: D102
        shown = {key: value for key, value in config.to_dict().items() if key in PARAMETERS}
        self._mlflow.log_params(self._flatten(shown))
        self._mlflow.log_text(config.pretty_text, 'config.py')

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:  # noqa: D102
        self._mlflow.log_image(image, key=name, step=step)

    def place(self) -> dict[str, str]:  # noqa: D102
        uri = self._mlflow.get_tracking_uri()
        served = uri.startswith(('http:', 'https:'))
        info = self._run.info
        url = f'{uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}' if served else ''
        look = '' if served else _command('mlflow ui --backend-store-uri', uri)
        return dict(run=info.run_id, url=url, folder='' if served else uri, look=look)

    def end(self, failed: bool) -> None:  # noqa: D102
        self._mlflow.end_run('FAILED' if failed else 'FINISHED')


class ClearML(ClearMLVisBackend):
    """A task of ClearML, without the checkpoints, which MMEngine and ClearML upload."""

    def __init__(self, folder: Path, name: str) -> None:
        given = dict(
            project_name=os.environ.get('CLEARML_PROJECT') or PROJECT,
            task_name=os.environ.get('CLEARML_TASK') or name,
            reuse_last_task_id=False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,
        )
        super().__init__(str(folder), init_kwargs=given, artifact_suffix=())

    def place(self) -> dict[str, str]:  # noqa: D102
        task = self._task
        if not task.is_offline():
            return dict(run=task.id, url=task.get_output_log_web_page() or '')
        folder = str(task.get_offline_mode_folder())
        look = _command('clearml-task --import-offline-session', folder)
        return dict(run=task.id, folder=folder, look=look)

    def end(self, failed: bool) -> None:  # noqa: D102
        if failed:
            self._task.mark_failed()
        self.close()


class Aim(AimVisBackend):
    """A run in the nearest repository of Aim, from the current folder upwards."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(str(folder), init_kwargs=dict(experiment=PROJECT))
        self._name = name

    def _init_env(self) -> None:
        super()._init_env()
        self._aim_run.name = self._name

    def place(self) -> dict[str, str]:  # noqa: D102
        folder = self._aim_run.repo.path
        return dict(run=self._aim_run.hash, folder=folder, look=_command('aim up --repo', folder))

    def end(self, failed: bool) -> None:  # noqa: D102
        self.close()


CLASSES = dict(zip(TRACKERS, (TensorBoard, WeightsAndBiases, MLflow, ClearML, Aim)))
