"""Trackers of experiments beside a training: TensorBoard, W&B, MLflow, ClearML and Aim.

This module has their names, which are those of their packages, too: for the help of tools, which
loads neither PyTorch nor MMEngine.
"""

TRACKERS = ('tensorboard', 'wandb', 'mlflow', 'clearml', 'aim')
